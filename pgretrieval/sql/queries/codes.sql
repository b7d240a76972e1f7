-- name: copy
copy pgretrieval.token_code (collection_id, codebook_id, passage_id, centroid_ids, residuals) from stdin (format binary)

-- name: copy_postings
copy pgretrieval.posting (collection_id, codebook_id, centroid_id, segment, passage_ids) from stdin (format binary)

-- name: note_segment
insert into pgretrieval.segment (collection_id, codebook_id, segment, passages, tokens, posting_rows, quantization_error)
values (%(collection_id)s, %(codebook_id)s, %(segment)s, %(passages)s, %(tokens)s, %(posting_rows)s, %(quantization_error)s)

-- name: index_words
select pgretrieval.index_words(%(collection_id)s, %(passage_ids)s::integer[])

-- name: coded
select passage_id from pgretrieval.token_code where collection_id = %(collection_id)s and codebook_id = %(codebook_id)s

-- name: has_postings
select exists (select from pgretrieval.posting where collection_id = %(collection_id)s and codebook_id = %(codebook_id)s)

-- name: centroid_ids
select passage_id, centroid_ids from pgretrieval.token_code
where collection_id = %(collection_id)s and codebook_id = %(codebook_id)s and passage_id = any(%(passage_ids)s)
