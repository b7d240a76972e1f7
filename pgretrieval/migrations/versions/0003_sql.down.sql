drop index pgretrieval.passage_metadata;
drop view if exists pgretrieval.collections;
drop function if exists pgretrieval.create_collection(text, integer, jsonb, integer, text, text, boolean);
drop function if exists pgretrieval.known_collection(text) cascade;
alter table pgretrieval.collection drop column keep_vectors;
