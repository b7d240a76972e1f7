alter table pgretrieval.collection drop column vectors_per_passage;
