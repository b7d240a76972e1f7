-- The vector index over the proxies of one codebook; built after they are written, in parallel where that is safe.
create or replace function pgretrieval.index_proxies(in_codebook integer) returns void
language plpgsql volatile
set search_path from current
as $function$
begin
    perform pgretrieval.limit_parallel_builds();
    execute format(
        'create index if not exists %I on pgretrieval.%I using hnsw (vector @extschema:vector@.halfvec_ip_ops)',
        'proxy_' || in_codebook || '_hnsw', 'proxy_' || in_codebook
    );
end
$function$;
