-- name: create_collection
select pgretrieval.create_collection(
    %(name)s, %(dim)s, %(encoder)s, %(bits)s, %(levels)s, %(generator)s, %(keep_vectors)s, %(language)s,
    %(title_weight)s, %(dense)s, %(dense_key)s, %(vectors_per_passage)s, %(scorer)s, %(rerank)s, %(unit_vectors)s,
    preset => %(preset)s, buckets => %(buckets)s)

-- name: drop_collection
select pgretrieval.drop_collection(%(name)s)

-- name: drop_leftover
select pgretrieval.drop_leftover()

-- name: collection
select collection_id, name, encoder, dim, bits, levels, codebook_id, given_vectors, generator, keep_vectors, language,
       title_weight, dense, dense_key, dense_dim, given_dense, encoding, dense_encoding, mean_words is not null,
       auto_compact, vectors_per_passage, scorer, rerank, unit_vectors, preset ->> 'name',
       coalesce(preset -> 'search', '[]'::jsonb), identity, buckets
from pgretrieval.collection
where name = %(name)s

-- name: collections
select name from pgretrieval.collection order by name

-- name: identity
select identity from pgretrieval.collection where collection_id = %(collection_id)s

-- name: lock_for_change
-- Changes share the lock, the switch of a build takes it exclusively; both until the end of the transaction.
-- The row is read by a separate statement: a prepared statement over the function's result would fail after an upgrade that adds
-- columns.
select pgretrieval.lock_for_change(%(collection_id)s) is not null

-- name: add_state
select dim, codebook_id, given_vectors, keep_vectors, dense_dim, given_dense, encoding, dense_encoding,
       vectors_per_passage, identity,
       (select codebook.identity from pgretrieval.codebook where codebook.codebook_id = collection.codebook_id), dense, buckets
from pgretrieval.collection where collection_id = %(collection_id)s

-- name: settle
-- The first add sets what creation left open: dimensions, and the encoder for texts without vectors.
select pgretrieval.settle(
    %(collection_id)s, %(dim)s, %(encoder)s, %(given_vectors)s, %(dense_dim)s, %(given_dense)s)

-- name: bytes_by_table
select parent.relname as table,
       pg_catalog.pg_table_size(child.oid) as table_bytes,
       pg_catalog.pg_indexes_size(child.oid) as index_bytes
from pg_catalog.pg_inherits
join pg_catalog.pg_class parent on parent.oid = inhparent
join pg_catalog.pg_class child on child.oid = inhrelid
join pgretrieval.collection on collection.collection_id = %(collection_id)s
where parent.relnamespace = 'pgretrieval'::regnamespace::oid
  and parent.relkind = 'p'
  and parent.relname::text not like '%%\_lock'
  and child.relname::text = pg_catalog.concat(
          parent.relname, '_',
          case parent.relname
              when 'proxy' then collection.codebook_id
              when 'item_embedding' then collection.factorization_id
              when 'anchor_score' then (
                  select matrix_id from pgretrieval.factorization where factorization.factorization_id = collection.factorization_id
              )
              else collection.collection_id
          end
      )
union all
select 'proxy_model',
       coalesce(
           pg_catalog.sum(
               pg_catalog.pg_column_size(directions) + pg_catalog.pg_column_size(projection)
               + pg_catalog.pg_column_size(anchors) + pg_catalog.pg_column_size(baseline)
           ),
           0
       ),
       0
from pgretrieval.proxy_model
join pgretrieval.collection using (codebook_id)
where collection.collection_id = %(collection_id)s
union all
select 'factorization',
       pg_catalog.pg_column_size(inverse) + pg_catalog.pg_column_size(intersection) + pg_catalog.pg_column_size(centre)
       + (select coalesce(pg_catalog.sum(pg_catalog.pg_column_size(direction)), 0) from pgretrieval.anchor_item
          where anchor_item.factorization_id = factorization.factorization_id),
       0
from pgretrieval.factorization
join pgretrieval.collection using (factorization_id)
where collection.collection_id = %(collection_id)s
order by 1

-- name: codes_inline
-- Whether all codes are stored in line.
select pg_catalog.pg_relation_size(reltoastrelid) = 0 from pg_catalog.pg_class
where oid = pg_catalog.to_regclass(pg_catalog.concat('pgretrieval.token_code_', %(collection_id)s::integer))::oid

-- name: state
-- The partition is selected by a parameter, not a column, so that the server reads only this collection's.
select collection.codebook_id, counted.passages, counted.tokens, staged.passages, collection.generator, collection.keep_vectors,
       pg_catalog.row_security_active('pgretrieval.passage'), collection.encoding, collection.vectors_per_passage, collection.identity,
       codebook.identity
from pgretrieval.collection
left join pgretrieval.codebook using (codebook_id)
cross join lateral (
    select pg_catalog.count(*) as passages, coalesce(pg_catalog.sum(token_count), 0)::bigint as tokens
    from pgretrieval.passage where passage.collection_id = %(collection_id)s
) as counted
cross join lateral (
    select pg_catalog.count(*) as passages from pgretrieval.token_vector
    where token_vector.collection_id = %(collection_id)s
      and token_vector.encoding = (select encoding from pgretrieval.collection where collection_id = %(collection_id)s)
      and (
          not pg_catalog.row_security_active('pgretrieval.passage')
          or exists (
              select from pgretrieval.passage
              where passage.collection_id = %(collection_id)s and passage.bucket = token_vector.bucket
                and passage.passage_id = token_vector.passage_id
          )
      )
) as staged
where collection.collection_id = %(collection_id)s

-- name: needs_compaction
select pgretrieval.needs_compaction(%(collection_id)s)

-- name: compact
select pgretrieval.compact(%(name)s)

-- name: compaction_progress
select least(next_centroid, centroid_count), centroid_count
from pgretrieval.compaction join pgretrieval.codebook using (codebook_id)
where compaction.collection_id = %(collection_id)s

-- name: set_auto_compact
update pgretrieval.collection set auto_compact = %(auto_compact)s where collection_id = %(collection_id)s

-- name: gathered
-- Segments and deleted passages for a compaction.
select
    (select pg_catalog.count(*) from pgretrieval.segment where collection_id = %(collection_id)s and posting_rows > 0),
    (select pg_catalog.count(*) from pgretrieval.removed_passage where collection_id = %(collection_id)s)

-- name: analyze
analyze {partition}

-- name: vacuum
-- Without truncation, for which vacuum would lock the table exclusively and block searches.
vacuum (analyze, truncate false) {partition}

-- name: vacuum_and_shorten
vacuum (analyze, truncate) {partition}

-- name: stats
select pgretrieval.stats(%(name)s)

-- name: active_codebook
select centroid_count, tokens from pgretrieval.codebook join pgretrieval.collection using (codebook_id)
where collection.collection_id = %(collection_id)s
