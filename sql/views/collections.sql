-- The collections, for reading.
create or replace view pgretrieval.collections with (security_invoker = true) as
select name, dim, bits, levels, encoder, generator, keep_vectors, language, title_weight, dense, dense_key, dense_dim,
       codebook_id is not null as built, created_at, vectors_per_passage, scorer, rerank, unit_vectors, preset, buckets
from pgretrieval.collection;
