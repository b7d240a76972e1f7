-- name: copy
copy pgretrieval.token_code (collection_id, codebook_id, passage_id, centroid_ids, residuals) from stdin (format binary)

-- name: copy_postings
copy pgretrieval.posting (collection_id, codebook_id, centroid_id, segment, passage_ids) from stdin (format binary)

-- name: next_segment
-- Adds of one collection may run at once: each takes a segment of its own from the collection's sequence of passage ids.
select nextval(('pgretrieval.passage_id_' || %(collection_id)s)::regclass)::integer
