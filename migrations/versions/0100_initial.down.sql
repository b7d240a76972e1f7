drop table pgretrieval.attachment, pgretrieval.queue, pgretrieval.source_passage cascade;
drop table pgretrieval.change_lock, pgretrieval.build_lock, pgretrieval.factorization_lock, pgretrieval.following_lock cascade;
drop table pgretrieval.segment, pgretrieval.removed_passage, pgretrieval.compaction, pgretrieval.rebuild, pgretrieval.leftover cascade;
drop table pgretrieval.item_embedding, pgretrieval.anchor_item, pgretrieval.anchor_score, pgretrieval.anchor_query cascade;
drop table pgretrieval.proxy, pgretrieval.proxy_model cascade;
drop table pgretrieval.word_posting, pgretrieval.posting_code, pgretrieval.posting, pgretrieval.token_code cascade;
drop table pgretrieval.dense_vector, pgretrieval.token_vector, pgretrieval.passage cascade;
drop table pgretrieval.centroid, pgretrieval.codebook, pgretrieval.factorization, pgretrieval.score_matrix, pgretrieval.collection cascade;
drop type pgretrieval.claims cascade;
