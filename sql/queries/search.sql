-- name: begin
-- Codebook and its identity in this snapshot, identity of the collection, whether row-level security applies; sets how vectors are
-- scanned in this transaction.
select collection.codebook_id, codebook.identity, collection.identity, pg_catalog.row_security_active('pgretrieval.passage'),
       pgretrieval.scan_vectors(%(ef_search)s, %(iterative_scan)s)
from pgretrieval.collection
left join pgretrieval.codebook using (codebook_id)
where collection.collection_id = %(collection_id)s

-- name: postings_of
-- The passages that probed centroids list; the client adds up their weights.
select centroid_id, passage_ids
from pgretrieval.posting
where collection_id = %(collection_id)s and codebook_id = %(codebook_id)s and centroid_id = any(%(centroid_ids)s)

-- name: centroids_of
-- Only centroid ids and how many bytes they take, aggregated in one row. (Residuals are separate rows: aggregating megabytes costs
-- more than rows do.) Passages with a constant number of vectors need no counts.
select pg_catalog.array_agg(passage_id),
       pg_catalog.array_agg(pg_catalog.length(centroid_ids)) filter (where %(vectors_per_passage)s::integer is null),
       pg_catalog.string_agg(centroid_ids, '')
from pgretrieval.token_code
where collection_id = %(collection_id)s and codebook_id = %(codebook_id)s and passage_id = any(%(passage_ids)s)

-- name: centroids_by_proxy
select pg_catalog.array_agg(passage_id),
       pg_catalog.array_agg(pg_catalog.length(centroid_ids)) filter (where %(vectors_per_passage)s::integer is null),
       pg_catalog.string_agg(centroid_ids, '')
from pgretrieval.candidates_by_proxy(%(collection_id)s, %(codebook_id)s, %(query)s::real[], %(n)s) as candidate
join pgretrieval.token_code using (bucket, passage_id)
where token_code.collection_id = %(collection_id)s and token_code.codebook_id = %(codebook_id)s

-- name: centroids_among
select pg_catalog.array_agg(passage_id),
       pg_catalog.array_agg(pg_catalog.length(centroid_ids)) filter (where %(vectors_per_passage)s::integer is null),
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
select passage_id, centroid_ids, residuals || tail
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
-- The tokens of some centroids that are of passages which the caller may see and which `filter` and `among` leave, a row for each
-- centroid that has any: the passage of each token, and their packed residual bits one after the other.
select token.centroid_id,
       pg_catalog.array_agg(token.passage_id order by token.passage_id, token.place),
       pg_catalog.string_agg(token.packed, '' order by token.passage_id, token.place)
from (
    select entry.centroid_id, entry.passage_id, entry.place,
           pg_catalog.substr(entry.residuals, 1 + entry.width * (entry.place::integer - 1), entry.width) as packed
    from (
        select posting.bucket, posting.centroid_id, posting.residuals, posting.width, own.passage_id, own.place
        from (
            select posting_code.bucket, posting_code.centroid_id, posting_code.passage_ids,
                   pg_catalog.substr(posting_code.residuals, 1) as residuals,  -- read once, not piece by piece
                   pg_catalog.length(posting_code.residuals) / pg_catalog.cardinality(posting_code.passage_ids) as width
            from pgretrieval.posting_code
            where posting_code.collection_id = %(collection_id)s and posting_code.codebook_id = %(codebook_id)s
              and posting_code.centroid_id = any(%(centroid_ids)s::integer[])
            union all
            select own.bucket, own.centroid_id, own.passage_ids, own.residuals,
                   pg_catalog.length(own.residuals) / pg_catalog.cardinality(own.passage_ids)
            from pgretrieval.own_entries(
                'posting_code', %(collection_id)s, %(codebook_id)s, %(centroid_ids)s::integer[]::text[],
                pgretrieval.claims_of(%(collection_id)s, %(filter)s::jsonpath, {among})
            ) as own
            where pg_catalog.row_security_active('pgretrieval.passage')  -- whoever sees all passages reads the postings themselves
            offset 0
        ) as posting
        cross join lateral pg_catalog.unnest(posting.passage_ids) with ordinality as own (passage_id, place)
        offset 0  -- the join of each token with each passage of its bucket looks cheap, as statistics say nothing of arrays
    ) as entry
    join pgretrieval.passage
        on passage.collection_id = %(collection_id)s and passage.bucket = entry.bucket and passage.passage_id = entry.passage_id
    where (%(filter)s::jsonpath is null or passage.metadata @@ %(filter)s::jsonpath) and ({among} is null or passage.key = any({among}))
    offset 0
) as token
group by token.centroid_id

-- name: count_matches
-- Count at most n.
select pg_catalog.count(*)
from (
    select 1 from pgretrieval.passage
    where collection_id = %(collection_id)s
      and (%(filter)s::jsonpath is null or metadata @@ %(filter)s::jsonpath) and ({among} is null or key = any({among}))
    limit %(n)s
) as matched

-- name: centroid_sizes
-- Number of tokens of each centroid that has any.
select pg_catalog.array_agg(centroid_id), pg_catalog.array_agg(tokens::integer)
from pgretrieval.centroid_sizes(%(collection_id)s, %(codebook_id)s, %(width)s)

-- name: version_of_postings
-- Changes with all that changes postings: an add writes a row of segment, a step of a compaction its own row anew, and its end that of
-- segment 0.
select pg_catalog.concat_ws(
    ',',
    (
        select pg_catalog.string_agg(segment.segment || ' ' || segment.xmin::text, ',' order by segment.segment)
        from pgretrieval.segment
        where segment.collection_id = %(collection_id)s and segment.codebook_id = %(codebook_id)s
    ),
    (select compaction.xmin::text from pgretrieval.compaction where compaction.collection_id = %(collection_id)s)
)

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
    %(query_dense)s, %(n)s, %(filter)s::jsonpath, {among}, null, false
)

-- name: score_dense
select pg_catalog.array_agg(passage_id), pg_catalog.array_agg(score)
from pgretrieval.candidates_by_dense(
    (select collection from pgretrieval.collection where collection_id = %(collection_id)s),
    %(query_dense)s, null, null, null, %(passage_ids)s, false
)

-- name: check_filter
select pgretrieval.check_search(%(filter)s::jsonpath, 1)

-- name: passage_to_explain
-- A passage, whether `filter` and `among` leave it, which of some words it lacks by a text search configuration, and whether there
-- is a factorisation.
select passage.passage_id, passage.title, passage.body, passage.metadata,
       coalesce(%(filter)s::jsonpath is null or passage.metadata @@ %(filter)s::jsonpath, false),
       {among} is null or passage.key = any({among}),
       array(
           select asked.word
           from pg_catalog.unnest(%(words)s::text[]) with ordinality as asked (word, place)
           cross join lateral (
               select pg_catalog.tsvector_to_array(pgretrieval.text_words(%(language)s::text::pg_catalog.regconfig, asked.word))
           ) as stem (words)
           where pg_catalog.cardinality(stem.words) > 0 and not stem.words <@ held.words
           order by asked.place
       ),
       exists (
           select 1 from pgretrieval.collection
           where collection.collection_id = %(collection_id)s and collection.factorization_id is not null
       )
from (
    select * from pgretrieval.passage where collection_id = %(collection_id)s and key = %(key)s offset 0
) as passage
cross join lateral (
    select pg_catalog.tsvector_to_array(
        (pgretrieval.word_vector(%(language)s::text::pg_catalog.regconfig, passage.title, passage.body)).words
    )
) as held (words)
