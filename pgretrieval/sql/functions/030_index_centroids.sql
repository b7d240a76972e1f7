-- The vector index over a collection's centroids; pgvector wants the dimension in the indexed expression.
create or replace function pgretrieval.index_centroids(in_collection integer, in_dim integer) returns void
language plpgsql volatile
set search_path from current
as $function$
begin
    perform pgretrieval.limit_parallel_builds();
    execute format(
        'create index if not exists %I on pgretrieval.%I using hnsw ((vector::halfvec(%s)) halfvec_ip_ops)',
        'centroid_' || in_collection || '_hnsw', 'centroid_' || in_collection, in_dim
    );
end
$function$;
