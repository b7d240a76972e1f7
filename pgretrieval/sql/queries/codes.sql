-- name: copy
copy pgretrieval.token_code (collection_id, codebook_id, passage_id, centroid_ids, residuals) from stdin (format binary)

-- name: copy_postings
copy pgretrieval.posting (collection_id, codebook_id, centroid_id, segment, passage_ids) from stdin (format binary)
