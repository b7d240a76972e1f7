-- name: insert
insert into pgretrieval.codebook (collection_id, dim, bits, cutoffs, weights, centroid_count, passages, tokens, quantization_error)
values (%(collection_id)s, %(dim)s, %(bits)s, %(cutoffs)s, %(weights)s, %(centroid_count)s, %(passages)s, %(tokens)s,
        %(quantization_error)s)
returning codebook_id

-- name: get
select dim, bits, cutoffs, weights, centroid_count, passages, tokens, quantization_error
from pgretrieval.codebook where codebook_id = %(codebook_id)s

-- name: copy_centroids
copy pgretrieval.centroid (collection_id, codebook_id, centroid_id, vector) from stdin (format binary)

-- name: centroids
select vector from pgretrieval.centroid
where collection_id = %(collection_id)s and codebook_id = %(codebook_id)s
order by centroid_id

-- name: index_centroids
-- Half of the usual links make a smaller index, which is as good when it is built and read with longer lists of nearest centroids.
-- Not for vectors of any length: the longest have nearly all links then, and searches do not reach some others.
select pgretrieval.index_vectors(
    'centroid_' || %(collection_id)s::text, codebook.dim, 'codebook_id', codebook.codebook_id,
    options => case when collection.unit_vectors then 'm = 8, ef_construction = 128' else 'm = 16' end
)
from pgretrieval.codebook
join pgretrieval.collection on collection.collection_id = %(collection_id)s
where codebook.codebook_id = %(codebook_id)s
