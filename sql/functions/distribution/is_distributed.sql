-- Returns whether the tables are distributed over the workers of a Citus cluster.
create or replace function pgretrieval.is_distributed() returns boolean
language plpgsql stable
set search_path from current
set plan_cache_mode = force_custom_plan
as $function$
declare
    distributed boolean := false;
begin
    if to_regclass('pg_catalog.pg_dist_partition') is not null then
        execute 'select exists (select from pg_catalog.pg_dist_partition where logicalrelid = ''pgretrieval.passage''::regclass)'
            into distributed;
    end if;
    return distributed;
end
$function$;
