drop view if exists pgretrieval.collections;
drop function if exists pgretrieval.create_collection(
    text, integer, jsonb, integer, text, text, boolean, text, double precision, text, text, integer, text, text, boolean
);
drop function if exists pgretrieval.inline_codes(integer, integer);
alter table pgretrieval.rebuild drop column vectors_per_passage cascade;
alter table pgretrieval.collection drop column vectors_per_passage cascade;
