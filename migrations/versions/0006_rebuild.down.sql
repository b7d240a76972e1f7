drop function if exists pgretrieval.index_centroids(integer, integer);
drop function if exists pgretrieval.index_dense(integer, integer, integer);
drop function if exists pgretrieval.index_words(integer, integer[], real, integer);
drop function if exists pgretrieval.drift(pgretrieval.collection);
drop table pgretrieval.rebuild cascade;
delete from pgretrieval.token_vector using pgretrieval.collection
where token_vector.collection_id = collection.collection_id and token_vector.encoding <> collection.encoding;
delete from pgretrieval.dense_vector using pgretrieval.collection
where dense_vector.collection_id = collection.collection_id and dense_vector.encoding <> collection.dense_encoding;
alter table pgretrieval.token_vector
    drop constraint token_vector_pkey, add primary key (collection_id, passage_id, bucket);
alter table pgretrieval.dense_vector
    drop constraint dense_vector_pkey, add primary key (collection_id, passage_id, bucket);
alter table pgretrieval.collection drop column encoding cascade, drop column dense_encoding cascade;
alter table pgretrieval.token_vector drop column encoding cascade;
alter table pgretrieval.dense_vector drop column encoding cascade;
