drop table pgretrieval.proxy cascade;
drop table pgretrieval.proxy_model;
drop function if exists pgretrieval.create_collection(text, integer, jsonb, integer, text, text);
alter table pgretrieval.collection drop column candidates;
