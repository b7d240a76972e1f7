-- name: copy
copy pgretrieval.token_code (collection_id, codebook_id, passage_id, centroid_ids, residuals) from stdin (format binary)

-- name: delete_others
delete from pgretrieval.token_code where collection_id = %(collection_id)s and codebook_id <> %(codebook_id)s

-- name: copy_postings
copy pgretrieval.posting (collection_id, codebook_id, centroid_id, segment, passage_ids) from stdin (format binary)

-- name: next_segment
select coalesce(max(segment) + 1, 0) from pgretrieval.posting
where collection_id = %(collection_id)s and codebook_id = %(codebook_id)s

-- name: delete_other_postings
delete from pgretrieval.posting where collection_id = %(collection_id)s and codebook_id <> %(codebook_id)s
