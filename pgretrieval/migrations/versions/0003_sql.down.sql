drop index pgretrieval.passage_metadata;
drop view if exists pgretrieval.collections;
drop function if exists pgretrieval.create_collection(text, integer, jsonb, integer, text, text, boolean, text, double precision, text, text);
drop function if exists pgretrieval.known_collection(text) cascade;
drop table pgretrieval.word_posting, pgretrieval.dense_vector cascade;
alter table pgretrieval.collection
    drop column keep_vectors, drop column language, drop column title_weight, drop column mean_words,
    drop column dense, drop column dense_key, drop column dense_dim,
    drop column given_dense;
