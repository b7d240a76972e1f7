drop view if exists pgretrieval.collections;
drop function if exists pgretrieval.partitioned_tables(text, text);
drop table pgretrieval.posting_code cascade;
alter table pgretrieval.collection drop column scorer cascade, drop column rerank cascade, drop column unit_vectors cascade;
