-- name: lock
-- Factorisations of one collection exclude each other by a lock in a transaction that lasts for all of one (see rebuilds.sql).
select pg_catalog.set_config('idle_in_transaction_session_timeout', '0', true),
       pgretrieval.lock_collection(%(collection_id)s, 'factorization', 'share update exclusive')

-- name: create_lock
select pgretrieval.create_partition('factorization_lock', 'collection_id', %(collection_id)s)

-- name: let_go
select

-- name: find_matrix
select matrix_id from pgretrieval.score_matrix
where collection_id = %(collection_id)s and fingerprint = %(fingerprint)s and queries_digest = %(queries_digest)s

-- name: create_matrix
insert into pgretrieval.score_matrix (collection_id, cross_encoder, fingerprint, queries, queries_digest, per_query)
values (
    %(collection_id)s, %(cross_encoder)s, %(fingerprint)s, pg_catalog.cardinality(%(queries)s::text[]), %(queries_digest)s, %(per_query)s
)
returning matrix_id

-- name: create_scores
select pgretrieval.create_partition('anchor_score', 'matrix_id', %(matrix_id)s)

-- name: write_queries
insert into pgretrieval.anchor_query (matrix_id, place, query)
select %(matrix_id)s, place, query from pg_catalog.unnest(%(queries)s::text[]) with ordinality as given (query, place)

-- name: unscored
select passage_id from pgretrieval.passage
where collection_id = %(collection_id)s and not exists (
    select from pgretrieval.anchor_score
    where anchor_score.matrix_id = %(matrix_id)s
      and anchor_score.passage_id = passage.passage_id and anchor_score.bucket = passage.bucket
)
order by passage_id

-- name: lock_passages
select passage_id, bucket from pgretrieval.lock_passages(%(collection_id)s, %(passage_ids)s)

-- name: bytes_of_scores
select pg_catalog.length(scores) from pgretrieval.anchor_score where matrix_id = %(matrix_id)s limit 1

-- name: copy_scores
copy pgretrieval.anchor_score (matrix_id, bucket, passage_id, scores) from stdin (format binary)

-- name: scored
select passage_id from pgretrieval.anchor_score
join pgretrieval.passage using (bucket, passage_id)
where matrix_id = %(matrix_id)s and collection_id = %(collection_id)s
order by passage_id

-- name: scores
select passage_id, scores from pgretrieval.anchor_score
where matrix_id = %(matrix_id)s and passage_id = any(%(passage_ids)s)

-- name: embeddable
-- Passages with scores but no embedding.
select passage_id from pgretrieval.anchor_score
join pgretrieval.passage using (bucket, passage_id)
where matrix_id = %(matrix_id)s and collection_id = %(collection_id)s and not exists (
    select from pgretrieval.item_embedding
    where item_embedding.factorization_id = %(factorization_id)s
      and item_embedding.passage_id = passage.passage_id and item_embedding.bucket = passage.bucket
)
order by passage_id

-- name: create_factorization
insert into pgretrieval.factorization (
    collection_id, matrix_id, asked_items, anchor_items, asked_selection, selection, seed, element, constant_queries, regularisation, strength, rank,
    condition, held_out_error, held_out_recall, split, inverse, intersection, centre
) values (
    %(collection_id)s, %(matrix_id)s, %(asked_items)s, %(anchor_items)s, %(asked_selection)s, %(selection)s, %(seed)s, %(element)s,
    %(constant_queries)s,
    %(regularisation)s, %(strength)s, %(rank)s, %(condition)s, %(held_out_error)s, %(held_out_recall)s, %(split)s, %(inverse)s,
    %(intersection)s, %(centre)s
)
returning factorization_id

-- name: create_embeddings
select pgretrieval.create_partition('item_embedding', 'factorization_id', %(factorization_id)s)

-- name: copy_anchors
copy pgretrieval.anchor_item (factorization_id, place, bucket, passage_id, mean_score, direction) from stdin (format binary)

-- name: copy_embeddings
copy pgretrieval.item_embedding (factorization_id, bucket, passage_id, embedding) from stdin (format binary)

-- name: index_embeddings
select pgretrieval.index_vectors(
    'item_embedding_' || factorization_id, anchor_items, vectors => 'embedding', element => element
)
from pgretrieval.factorization where factorization_id = %(factorization_id)s

-- name: drop_embeddings_of_removed
delete from pgretrieval.item_embedding
where factorization_id = %(factorization_id)s and not exists (
    select from pgretrieval.passage
    where passage.collection_id = %(collection_id)s
      and passage.passage_id = item_embedding.passage_id and passage.bucket = item_embedding.bucket
)

-- name: drop_scores_of_removed
delete from pgretrieval.anchor_score
where matrix_id = %(matrix_id)s and not exists (
    select from pgretrieval.passage
    where passage.collection_id = %(collection_id)s
      and passage.passage_id = anchor_score.passage_id and passage.bucket = anchor_score.bucket
)

-- name: switch
update pgretrieval.collection set factorization_id = %(factorization_id)s where collection_id = %(collection_id)s

-- name: empty_replaced
-- Embeddings of a collection's factorisations but the one to keep, and scores that only these were made of. It gives up after half a
-- second where a search is in the way.
select pgretrieval.empty_partitions(
    'dropping factorisations',
    array(
        select pg_catalog.concat('item_embedding_', factorization_id) from pgretrieval.factorization
        where collection_id = %(collection_id)s and factorization_id is distinct from %(kept_factorization)s
        union all
        select pg_catalog.concat('anchor_score_', matrix_id) from pgretrieval.score_matrix
        where collection_id = %(collection_id)s and matrix_id is distinct from %(kept_matrix)s and not exists (
            select from pgretrieval.factorization
            where factorization.matrix_id = score_matrix.matrix_id and factorization_id = %(kept_factorization)s
        )
    ),
    0.5
)

-- name: drop_replaced
delete from pgretrieval.factorization
where collection_id = %(collection_id)s and factorization_id is distinct from %(kept_factorization)s

-- name: drop_replaced_matrices
delete from pgretrieval.score_matrix
where collection_id = %(collection_id)s and matrix_id is distinct from %(kept_matrix)s
  and not exists (select from pgretrieval.factorization where factorization.matrix_id = score_matrix.matrix_id)

-- name: active
select factorization.factorization_id, factorization.matrix_id, asked_items, anchor_items, asked_selection, seed, element, split, inverse,
       intersection, centre, held_out_error, score_matrix.cross_encoder, score_matrix.fingerprint, factorization.identity, strength,
       score_matrix.per_query
from pgretrieval.collection
join pgretrieval.factorization using (factorization_id)
join pgretrieval.score_matrix using (matrix_id)
where collection.collection_id = %(collection_id)s

-- name: directions
select direction from pgretrieval.anchor_item
where factorization_id = %(factorization_id)s
order by place

-- name: active_identity
-- Unique even after restores.
select factorization.identity
from pgretrieval.collection join pgretrieval.factorization using (factorization_id)
where collection.collection_id = %(collection_id)s

-- name: anchors
-- Anchor items visible to the caller, and whether each matches the restriction.
select place, anchor_item.passage_id,
       (%(filter)s::jsonpath is null or metadata @@ %(filter)s::jsonpath) and ({among} is null or key = any({among}))
from pgretrieval.anchor_item
join pgretrieval.passage using (bucket, passage_id)
where factorization_id = %(factorization_id)s and collection_id = %(collection_id)s
order by place

-- name: nearest
select passage_id, found.score, key, title, body, metadata, embedding
from pgretrieval.candidates_by_embedding(
    %(collection_id)s, %(factorization_id)s, %(query)s, %(n)s, %(filter)s::jsonpath, {among}, %(passed_over)s
) as found
join pgretrieval.passage using (bucket, passage_id)
join pgretrieval.item_embedding using (bucket, passage_id)
where passage.collection_id = %(collection_id)s and item_embedding.factorization_id = %(factorization_id)s
order by found.score desc, passage_id

-- name: named
-- Passages by id, with their embeddings if they have any.
select passage.passage_id, key, title, body, metadata, embedding
from pgretrieval.passage
left join pgretrieval.item_embedding
    on item_embedding.factorization_id = %(factorization_id)s
    and item_embedding.bucket = passage.bucket and item_embedding.passage_id = passage.passage_id
where collection_id = %(collection_id)s and key = any(%(keys)s)

-- name: solution
select constant_queries, anchor_items, rank, condition, held_out_error, held_out_recall
from pgretrieval.factorization join pgretrieval.collection using (factorization_id)
where collection.collection_id = %(collection_id)s

-- name: numbers
select key, passage_id from pgretrieval.passage where collection_id = %(collection_id)s and key = any(%(keys)s)

-- name: dense
select passage_id, vector from pgretrieval.dense_vector
where collection_id = %(collection_id)s and passage_id = any(%(passage_ids)s)
  and encoding = (select dense_encoding from pgretrieval.collection where collection_id = %(collection_id)s)
