drop table pgretrieval.compaction, pgretrieval.removed_passage, pgretrieval.segment cascade;
alter table pgretrieval.codebook drop column quantization_error;
alter table pgretrieval.collection drop column auto_compact;
