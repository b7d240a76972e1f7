drop view if exists pgretrieval.collections;
drop function if exists pgretrieval.partitioned_tables(text, text);
drop function if exists pgretrieval.create_collection(
    text, integer, jsonb, integer, text, text, boolean, text, double precision, text, text, text, text, boolean
);
drop table pgretrieval.posting_code cascade;
alter table pgretrieval.collection drop column scorer cascade, drop column rerank cascade, drop column unit_vectors cascade;
