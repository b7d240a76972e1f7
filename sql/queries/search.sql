-- name: begin
-- Codebook and its identity in this snapshot, identity of the collection, whether row-level security applies, and the ef_search of
-- this transaction.
select collection.codebook_id, codebook.identity, collection.identity, pg_catalog.row_security_active('pgretrieval.passage'),
       pg_catalog.set_config('hnsw.ef_search', %(ef_search)s::text, true),
       pg_catalog.set_config('hnsw.iterative_scan', %(iterative_scan)s::text, true)
from pgretrieval.collection
left join pgretrieval.codebook using (codebook_id)
where collection.collection_id = %(collection_id)s

-- name: codes_by_postings
-- Candidates with all data for exact scoring, in one round trip.
select passage_id, centroid_ids, residuals
from pgretrieval.candidates_by_postings(
    %(collection_id)s, %(codebook_id)s, %(centroid_ids)s::integer[], %(centroid_scores)s::real[], %(n)s
) as candidate
join pgretrieval.token_code using (bucket, passage_id)
where token_code.collection_id = %(collection_id)s and token_code.codebook_id = %(codebook_id)s

-- name: centroids_by_postings
-- First of two round trips: only centroid ids, aggregated in one row. (Residuals are separate rows: aggregating megabytes costs more
-- than rows do.) Passages with a constant number of vectors need no counts.
select pg_catalog.array_agg(passage_id),
       pg_catalog.array_agg(pg_catalog.length(centroid_ids) / 4) filter (where %(vectors_per_passage)s::integer is null),
       pg_catalog.string_agg(centroid_ids, '')
from pgretrieval.candidates_by_postings(
    %(collection_id)s, %(codebook_id)s, %(centroid_ids)s::integer[], %(centroid_scores)s::real[], %(n)s
) as candidate
join pgretrieval.token_code using (bucket, passage_id)
where token_code.collection_id = %(collection_id)s and token_code.codebook_id = %(codebook_id)s

-- name: codes_by_proxy
select passage_id, centroid_ids, residuals
from pgretrieval.candidates_by_proxy(%(collection_id)s, %(codebook_id)s, %(query)s::real[], %(n)s) as candidate
join pgretrieval.token_code using (bucket, passage_id)
where token_code.collection_id = %(collection_id)s and token_code.codebook_id = %(codebook_id)s

-- name: centroids_by_proxy
select pg_catalog.array_agg(passage_id),
       pg_catalog.array_agg(pg_catalog.length(centroid_ids) / 4) filter (where %(vectors_per_passage)s::integer is null),
       pg_catalog.string_agg(centroid_ids, '')
from pgretrieval.candidates_by_proxy(%(collection_id)s, %(codebook_id)s, %(query)s::real[], %(n)s) as candidate
join pgretrieval.token_code using (bucket, passage_id)
where token_code.collection_id = %(collection_id)s and token_code.codebook_id = %(codebook_id)s

-- name: centroids_among
select pg_catalog.array_agg(passage_id),
       pg_catalog.array_agg(pg_catalog.length(centroid_ids) / 4) filter (where %(vectors_per_passage)s::integer is null),
       pg_catalog.string_agg(centroid_ids, '')
from pgretrieval.candidates_among(
    %(collection_id)s, %(codebook_id)s, %(centroid_ids)s::integer[], %(centroid_scores)s::real[], %(n)s,
    %(filter)s::jsonpath, {among}
) as candidate
join pgretrieval.token_code using (bucket, passage_id)
where token_code.collection_id = %(collection_id)s and token_code.codebook_id = %(codebook_id)s

-- name: vectors_of
-- Stored vectors instead of codes.
select passage_id, vectors
from pgretrieval.token_vector
where collection_id = %(collection_id)s and passage_id = any(%(passage_ids)s)
  and encoding = (select encoding from pgretrieval.collection where collection_id = %(collection_id)s)

-- name: vectors_after
-- The next passages of a collection without an index, which are all compared.
select passage_id, vectors
from pgretrieval.token_vector
join pgretrieval.passage using (collection_id, bucket, passage_id)
where collection_id = %(collection_id)s and passage_id > %(after)s
  and encoding = (select encoding from pgretrieval.collection where collection_id = %(collection_id)s)
  and (%(filter)s::jsonpath is null or metadata @@ %(filter)s::jsonpath)
  and ({among} is null or key = any({among}))
order by passage_id limit %(n)s

-- name: codes_of
-- Second of two round trips: all codes of the passages that centroid interaction kept.
select passage_id, centroid_ids, residuals
from pgretrieval.token_code
where collection_id = %(collection_id)s and codebook_id = %(codebook_id)s and passage_id = any(%(passage_ids)s)

-- name: tokens_of_centroids
-- The stored tokens of probed centroids.
select centroid_id, passage_ids, residuals
from pgretrieval.posting_code
where collection_id = %(collection_id)s and codebook_id = %(codebook_id)s and centroid_id = any(%(centroid_ids)s)

-- name: removed_passages
-- Deleted passages that postings may still list.
select passage_id from pgretrieval.removed_passage where collection_id = %(collection_id)s

-- name: tokens_among
select centroid_id, passage_ids, residuals
from pgretrieval.tokens_among(
    %(collection_id)s, %(codebook_id)s, %(centroid_ids)s::integer[], %(filter)s::jsonpath, {among}
)

-- name: count_matches
-- Count at most n.
select pg_catalog.count(*)
from (
    select from pgretrieval.passage
    where collection_id = %(collection_id)s
      and (%(filter)s::jsonpath is null or metadata @@ %(filter)s::jsonpath) and ({among} is null or key = any({among}))
    limit %(n)s
) as matched

-- name: centroid_sizes
-- Number of tokens of each centroid.
select centroid_id, tokens from pgretrieval.centroid_sizes(%(collection_id)s, %(codebook_id)s, %(width)s)

-- name: postings_read
select coalesce(pg_catalog.sum(pg_catalog.cardinality(passage_ids)), 0) from pgretrieval.posting
where collection_id = %(collection_id)s and codebook_id = %(codebook_id)s and centroid_id = any(%(centroid_ids)s)

-- name: candidates_by_text
select pg_catalog.array_agg(passage_id), pg_catalog.array_agg(score)
from pgretrieval.candidates_by_text(
    (select collection from pgretrieval.collection where collection_id = %(collection_id)s),
    %(query_text)s, %(n)s, %(filter)s::jsonpath, {among}
)

-- name: candidates_by_dense
select pg_catalog.array_agg(passage_id), pg_catalog.array_agg(score)
from pgretrieval.candidates_by_dense(
    (select collection from pgretrieval.collection where collection_id = %(collection_id)s),
    %(query_dense)s, %(n)s, %(filter)s::jsonpath, {among}
)

-- name: score_dense
select pg_catalog.array_agg(passage_id), pg_catalog.array_agg(score)
from pgretrieval.score_dense(
    (select collection from pgretrieval.collection where collection_id = %(collection_id)s),
    %(passage_ids)s, %(query_dense)s
)

-- name: is_predicate
select pgretrieval.is_predicate(%(filter)s::jsonpath)
