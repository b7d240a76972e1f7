-- name: insert
insert into pgretrieval.codebook (collection_id, dim, bits, cutoffs, weights, centroid_count, passages, tokens)
values (%(collection_id)s, %(dim)s, %(bits)s, %(cutoffs)s, %(weights)s, %(centroid_count)s, %(passages)s, %(tokens)s)
returning codebook_id

-- name: get
select dim, bits, cutoffs, weights, centroid_count, passages, tokens
from pgretrieval.codebook where codebook_id = %(codebook_id)s

-- name: unfinished
-- A codebook that was trained for just these passages by a build that did not finish.
select codebook_id from pgretrieval.codebook
where collection_id = %(collection_id)s and passages = %(passages)s and tokens = %(tokens)s and bits = %(bits)s
  and codebook_id > coalesce(%(active)s, 0)
order by codebook_id desc limit 1

-- name: delete_others
delete from pgretrieval.codebook
where collection_id = %(collection_id)s and codebook_id <> %(codebook_id)s

-- name: copy_centroids
copy pgretrieval.centroid (collection_id, codebook_id, centroid_id, vector) from stdin (format binary)

-- name: centroids
select vector from pgretrieval.centroid
where collection_id = %(collection_id)s and codebook_id = %(codebook_id)s
order by centroid_id

-- name: delete_other_centroids
delete from pgretrieval.centroid where collection_id = %(collection_id)s and codebook_id <> %(codebook_id)s

-- name: index_centroids
select pgretrieval.index_centroids(%(collection_id)s, %(dim)s)

-- name: activate
update pgretrieval.collection set codebook_id = %(codebook_id)s where collection_id = %(collection_id)s

-- name: delete_other_codes
delete from pgretrieval.token_code where collection_id = %(collection_id)s and codebook_id <> %(codebook_id)s

-- name: delete_other_postings
delete from pgretrieval.posting where collection_id = %(collection_id)s and codebook_id <> %(codebook_id)s

-- name: delete_other_segments
delete from pgretrieval.segment where collection_id = %(collection_id)s and codebook_id <> %(codebook_id)s
