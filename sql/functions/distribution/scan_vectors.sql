-- Sets how many vectors scans of vector indexes compare, and whether they go on, until the transaction ends; also on the workers of a
-- Citus cluster, which take a setting only from a statement.
create or replace function pgretrieval.scan_vectors(ef_search integer, iterative_scan text) returns void
language plpgsql volatile
set search_path from current
as $function$
begin
    perform set_config('hnsw.ef_search', scan_vectors.ef_search::text, true),
            set_config('hnsw.iterative_scan', scan_vectors.iterative_scan, true);
    if pgretrieval.is_distributed() then
        perform set_config('citus.propagate_set_commands', 'local', true);
        execute format('set local hnsw.ef_search = %s', scan_vectors.ef_search);
        execute format('set local hnsw.iterative_scan = %L', scan_vectors.iterative_scan);
    end if;
end
$function$;
