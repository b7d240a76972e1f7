-- name: candidate_codes
-- One round trip: the candidates with everything that exact scoring needs.
select candidate.passage_id, token_code.centroid_ids, token_code.residuals
from pgretrieval.candidates_by_postings(
    %(collection_id)s, %(codebook_id)s, %(centroid_ids)s::integer[], %(centroid_scores)s::real[], %(n)s
) as candidate
join pgretrieval.token_code
    on token_code.collection_id = %(collection_id)s
    and token_code.codebook_id = %(codebook_id)s
    and token_code.bucket = candidate.bucket
    and token_code.passage_id = candidate.passage_id

-- name: candidate_centroids
-- First of two round trips of the staged form: centroid ids alone.
select candidate.passage_id, token_code.centroid_ids
from pgretrieval.candidates_by_postings(
    %(collection_id)s, %(codebook_id)s, %(centroid_ids)s::integer[], %(centroid_scores)s::real[], %(n)s
) as candidate
join pgretrieval.token_code
    on token_code.collection_id = %(collection_id)s
    and token_code.codebook_id = %(codebook_id)s
    and token_code.bucket = candidate.bucket
    and token_code.passage_id = candidate.passage_id

-- name: codes_of
-- Second of two: all codes of the few passages that centroid interaction kept.
select passage_id, centroid_ids, residuals from pgretrieval.token_code
where collection_id = %(collection_id)s and codebook_id = %(codebook_id)s and passage_id = any(%(passage_ids)s)

-- name: postings_read
select coalesce(sum(cardinality(passage_ids)), 0) from pgretrieval.posting
where collection_id = %(collection_id)s and codebook_id = %(codebook_id)s and centroid_id = any(%(centroid_ids)s)

-- name: active_codebook
select codebook_id from pgretrieval.collection where collection_id = %(collection_id)s
