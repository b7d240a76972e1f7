-- The vector index over a collection's centroids; pgvector wants the dimension in the indexed expression.
create or replace function pgretrieval.index_centroids(in_collection integer, in_dim integer) returns void
language plpgsql volatile
set search_path from current
as $function$
begin
    -- Before 0.8.4 pgvector's parallel builds are not safe.
    if (select string_to_array(regexp_replace(extversion, '[^0-9.].*$', ''), '.')::integer[] < array[0, 8, 4]
        from pg_extension where extname = 'vector') then
        perform set_config('max_parallel_maintenance_workers', '0', true);
    end if;
    execute format(
        'create index if not exists %I on pgretrieval.%I using hnsw ((vector::halfvec(%s)) halfvec_ip_ops)',
        'centroid_' || in_collection || '_hnsw', 'centroid_' || in_collection, in_dim
    );
end
$function$;
