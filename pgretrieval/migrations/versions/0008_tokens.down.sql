alter table pgretrieval.collection drop column scorer, drop column rerank, drop column unit_vectors;
