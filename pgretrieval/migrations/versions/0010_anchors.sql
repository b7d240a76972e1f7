-- Factorisations of a cross-encoder's scores (ANNCUR).

comment on column pgretrieval.collection.collection_id is 'Names the partitions of a collection.';
