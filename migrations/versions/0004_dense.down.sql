drop view if exists pgretrieval.collections;
drop function if exists pgretrieval.create_collection(text, integer, jsonb, integer, text, text, boolean, text, double precision, text, text);
drop function if exists pgretrieval.words_of(integer, regconfig, real, integer[]);
drop function if exists pgretrieval.score_passages(pgretrieval.collection, integer[], vector[]);
drop function if exists pgretrieval.hybrid_search(
    text, vector[], text, integer, jsonpath, vector, text[], text, double precision[], integer, integer, integer
);
drop function if exists pgretrieval.add_passage(text, text, text, vector[], text, jsonb, vector);
drop table pgretrieval.dense_vector cascade;
alter table pgretrieval.collection
    drop column title_weight, drop column dense, drop column dense_key, drop column dense_dim, drop column given_dense;
