drop index pgretrieval.passage_metadata;
drop view if exists pgretrieval.collections;
drop function if exists pgretrieval.create_collection(text, integer, jsonb, integer, text, text, boolean, text);
drop function if exists pgretrieval.known_collection(text) cascade;
drop table pgretrieval.word_posting cascade;
alter table pgretrieval.collection drop column keep_vectors, drop column language, drop column mean_words;
