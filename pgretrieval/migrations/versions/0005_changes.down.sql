drop table pgretrieval.compaction, pgretrieval.removed_passage, pgretrieval.segment;
alter table pgretrieval.codebook drop column quantization_error;
alter table pgretrieval.collection drop column auto_compact;
