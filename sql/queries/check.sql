-- name: parts
select pg_catalog.unnest(pgretrieval.check_parts())

-- name: check
select rule, id, detail, total from pgretrieval.check(%(name)s, %(part)s)

-- name: posting_codes
select centroid_id, passage_ids, residuals
from pgretrieval.posting_code
where collection_id = %(collection_id)s and codebook_id = %(codebook_id)s
  and pg_catalog.length(residuals) = %(width)s * pg_catalog.cardinality(passage_ids) and pg_catalog.cardinality(passage_ids) > 0

-- name: codes
select passage.key, token_code.centroid_ids, token_code.residuals || token_code.tail
from pgretrieval.token_code
join pgretrieval.passage using (collection_id, bucket, passage_id)
where collection_id = %(collection_id)s and codebook_id = %(codebook_id)s
  and pg_catalog.length(token_code.centroid_ids) = %(id_bytes)s * passage.token_count
  and pg_catalog.length(token_code.residuals) + pg_catalog.length(token_code.tail) = %(width)s * passage.token_count
