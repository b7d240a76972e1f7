-- name: reserve
-- New numbers; those of rolled back transactions are not reused.
select pg_catalog.nextval(('pgretrieval.passage_id_' || %(collection_id)s::text)::pg_catalog.regclass)::integer
from pg_catalog.generate_series(1, %(n)s)

-- name: copy
copy pgretrieval.passage (collection_id, bucket, passage_id, key, title, body, metadata, token_count) from stdin (format binary)

-- name: insert
insert into pgretrieval.passage (collection_id, bucket, passage_id, key, title, body, metadata, token_count)
values (%s, %s, %s, %s, %s, %s, %s, %s)

-- name: existing
select key, title, body, metadata from pgretrieval.passages_with_keys(%(collection_id)s, %(keys)s::text[])

-- name: matching
select key, title, body, metadata from pgretrieval.passage
where collection_id = %(collection_id)s
  and (%(filter)s::jsonpath is null or metadata @@ %(filter)s::jsonpath) and ({among} is null or key = any({among}))
order by passage_id

-- name: remove
select pgretrieval.remove_passages(%(collection_id)s, {among}, %(filter)s::jsonpath)

-- name: set_metadata
-- For passages whose other fields are unchanged.
update pgretrieval.passage set metadata = given.metadata
from rows from (
    pg_catalog.unnest(%(keys)s::text[]), pg_catalog.unnest(%(titles)s::text[]), pg_catalog.unnest(%(bodies)s::text[]),
    pg_catalog.unnest(%(metadata)s::jsonb[])
) as given (key, title, body, metadata)
where passage.collection_id = %(collection_id)s and passage.key = given.key
  and passage.title is not distinct from given.title and passage.body = given.body

-- name: texts
-- Fields of a hit, by passage id.
select passage_id, key, title, body, metadata from pgretrieval.passage
where collection_id = %(collection_id)s and passage_id = any(%(passage_ids)s)

-- name: buckets
-- Of passages that are there.
select passage_id, bucket from pgretrieval.passage
where collection_id = %(collection_id)s and passage_id = any(%(passage_ids)s)

-- name: all
select passage_id, key, title, body, metadata from pgretrieval.passage
where collection_id = %(collection_id)s order by passage_id

-- name: without_vectors
select passage_id, key, title, body, metadata from pgretrieval.passage
where collection_id = %(collection_id)s and not exists (
    select from pgretrieval.token_vector staged
    where staged.collection_id = passage.collection_id and staged.passage_id = passage.passage_id
      and staged.bucket = passage.bucket and staged.encoding = %(encoding)s
) and passage_id between %(first)s and %(last)s
order by passage_id limit %(n)s
