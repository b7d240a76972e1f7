drop table pgretrieval.posting, pgretrieval.token_code, pgretrieval.token_vector, pgretrieval.passage, pgretrieval.centroid cascade;
alter table pgretrieval.collection drop column codebook_id;
drop table pgretrieval.codebook, pgretrieval.collection cascade;
