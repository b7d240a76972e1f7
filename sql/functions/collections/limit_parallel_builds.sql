-- For the rest of the transaction: no workers where pgvector is older than 0.8.4, whose parallel builds of vector indexes are not safe.
create or replace function pgretrieval.limit_parallel_builds() returns void
language plpgsql volatile
set search_path from current
as $function$
begin
    if (select string_to_array(regexp_replace(extversion, '[^0-9.].*$', ''), '.')::integer[] < array[0, 8, 4]
        from pg_extension where extname = 'vector') then
        perform set_config('max_parallel_maintenance_workers', '0', true);
    end if;
end
$function$;
