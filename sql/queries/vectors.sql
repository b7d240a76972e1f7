-- name: copy
copy pgretrieval.token_vector (collection_id, encoding, bucket, passage_id, vectors) from stdin (format binary)

-- name: copy_dense
copy pgretrieval.dense_vector (collection_id, encoding, bucket, passage_id, vector) from stdin (format binary)

-- name: insert
insert into pgretrieval.token_vector (collection_id, encoding, bucket, passage_id, vectors) values (%s, %s, %s, %s, %s)

-- name: insert_dense
insert into pgretrieval.dense_vector (collection_id, encoding, bucket, passage_id, vector) values (%s, %s, %s, %s, %s)

-- name: index_dense
select pgretrieval.index_vectors('dense_vector_' || %(collection_id)s::text, %(dim)s, 'encoding', %(encoding)s)
where %(dim)s::integer is not null

-- name: staged_ids
-- The number of tokens from the size, which is known without reading the vectors: a halfvec takes eight bytes plus two per dimension,
-- rounded up to four, and the array's header slightly more than 20. (passage.token_count belongs to the active encoding.)
select passage_id, (pg_catalog.pg_column_size(vectors) - 20) / ((11 + 2 * %(dim)s) / 4 * 4)
from pgretrieval.token_vector join pgretrieval.passage using (collection_id, bucket, passage_id)
where collection_id = %(collection_id)s and encoding = %(encoding)s
order by passage_id

-- name: read
select passage_id, bucket, vectors
from pg_catalog.unnest(%(passage_ids)s::integer[]) with ordinality as wanted (passage_id, place)
join pgretrieval.token_vector using (passage_id)
where collection_id = %(collection_id)s and encoding = %(encoding)s
order by place

-- name: element_type
-- The type id of halfvec for binary arrays.
select pg_type.oid from pg_catalog.pg_type
join pg_catalog.pg_extension on typnamespace = extnamespace
where extname = 'vector' and typname = 'halfvec'

-- name: lock_where_empty
-- Where a vacuum has left no token vectors no snapshot needs any, and the indexes can go too.
select pgretrieval.lock_briefly(
    'clearing token vectors', array[pg_catalog.concat('pgretrieval.token_vector_', %(collection_id)s::integer)]::regclass[],
    'access exclusive', 0.5
)
where pg_catalog.pg_relation_size(pg_catalog.concat('pgretrieval.token_vector_', %(collection_id)s::integer)::regclass) = 0
  and not pgretrieval.is_distributed()  -- where rows are elsewhere

-- name: truncate
truncate {partition}

-- name: drop_vectors_of_removed
-- Vectors of a rebuild whose passages were deleted since.
delete from pgretrieval.token_vector
where collection_id = %(collection_id)s and encoding = %(encoding)s and not exists (
    select from pgretrieval.passage
    where passage.collection_id = token_vector.collection_id and passage.passage_id = token_vector.passage_id
      and passage.bucket = token_vector.bucket
)

-- name: drop_dense_of_removed
delete from pgretrieval.dense_vector
where collection_id = %(collection_id)s and encoding = %(encoding)s and not exists (
    select from pgretrieval.passage
    where passage.collection_id = dense_vector.collection_id and passage.passage_id = dense_vector.passage_id
      and passage.bucket = dense_vector.bucket
)
