-- name: copy
copy pgretrieval.token_vector (collection_id, passage_id, vectors) from stdin (format binary)

-- name: copy_dense
copy pgretrieval.dense_vector (collection_id, passage_id, vector) from stdin (format binary)

-- name: index_dense
select pgretrieval.index_dense(%(collection_id)s)

-- name: staged_ids
select passage_id, token_count
from pgretrieval.token_vector join pgretrieval.passage using (collection_id, bucket, passage_id)
where collection_id = %(collection_id)s
order by passage_id

-- name: read
select passage_id, vectors
from unnest(%(passage_ids)s::integer[]) with ordinality as wanted (passage_id, place)
join pgretrieval.token_vector using (passage_id)
where collection_id = %(collection_id)s
order by place

-- name: element_type
-- The type id of halfvec, which binary arrays carry.
select pg_type.oid from pg_catalog.pg_type
join pg_catalog.pg_extension on typnamespace = extnamespace
where extname = 'vector' and typname = 'halfvec'

-- name: clear
select pgretrieval.clear_token_vectors(%(collection_id)s)
