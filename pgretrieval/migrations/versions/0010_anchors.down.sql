comment on column pgretrieval.collection.collection_id is null;
