-- The vector index over the centroids of one codebook; each has its own, since pgvector wants the dimension in the indexed expression,
-- and codebooks of two dimensions are there while the encoder changes. One over all, as collections were made with, goes.
create or replace function pgretrieval.index_centroids(in_collection integer, in_codebook integer) returns void
language plpgsql volatile
set search_path from current
as $function$
declare
    dims integer;
begin
    select c.dim into strict dims from pgretrieval.codebook c where c.codebook_id = in_codebook;
    perform pgretrieval.limit_parallel_builds();
    execute format(
        'create index if not exists %I on pgretrieval.%I using hnsw ((vector::@extschema:vector@.halfvec(%s)) @extschema:vector@.halfvec_ip_ops) where codebook_id = %s',
        'centroid_' || in_collection || '_' || in_codebook || '_hnsw', 'centroid_' || in_collection, dims, in_codebook
    );
    perform pgretrieval.drop_index('centroid_' || in_collection, 'centroid_' || in_collection || '_hnsw');
end
$function$;
