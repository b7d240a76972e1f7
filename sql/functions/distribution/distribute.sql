-- Distributes the tables of passages over the workers of a Citus cluster by their bucket, with the rows that they have; does nothing if
-- they are distributed. All other tables stay on the coordinator.
create or replace function pgretrieval.distribute() returns void
language plpgsql volatile
set search_path from current
set plan_cache_mode = force_custom_plan
as $function$
declare
    version text := (select extversion from pg_extension where extname = 'citus');
    workers integer;
    without_vector text;
    found record;
begin
    if version is null then
        raise exception 'the extension "citus" is not created in database "%", and tables are distributed by it', current_database()
            using errcode = 'PGR02', hint = 'Give the URL of a Citus coordinator, or leave distributed out.';
    end if;
    if string_to_array(regexp_replace(version, '[^0-9.].*$', ''), '.')::integer[] < array[12, 1] then
        raise exception 'Citus % is too old', version
            using errcode = 'PGR03', hint = 'pgretrieval needs Citus 12.1 or later: update the package, then ALTER EXTENSION citus UPDATE.';
    end if;
    execute 'select count(*) from pg_catalog.pg_dist_node where isactive and noderole = ''primary'' and groupid <> 0' into workers;
    if workers = 0 then
        raise exception 'the Citus coordinator of database "%" has no workers', current_database()
            using errcode = 'PGR01', hint = 'Add one: SELECT citus_add_node(''host'', 5432). Then migrate again.';
    end if;
    execute $statement$
        select string_agg(nodename || ':' || nodeport || ' (' || result || ')', ', ')
        from pg_catalog.run_command_on_workers(
            'select coalesce((select ''pgvector '' || default_version from pg_catalog.pg_available_extensions '
            'where name = ''vector''), ''none'')'
        )
        where not success or result !~ '^pgvector (0\.([89]|\d\d)|[1-9])'
    $statement$ into without_vector;
    if without_vector is not null then
        raise exception 'these workers do not have pgvector 0.8 or later: %', without_vector
            using errcode = 'PGR02', hint = 'Install the package pgvector on each of them, then migrate again.';
    end if;
    if pgretrieval.is_distributed() then
        return;
    end if;
    if (select relrowsecurity from pg_class where oid = 'pgretrieval.passage'::regclass) then
        raise exception 'row-level security is enabled on pgretrieval.passage, and Citus accepts no policy that looks at another table'
            using errcode = 'PGR01', hint = 'Keep tenants in collections of their own, and disable it, or stay on one server.';
    end if;
    -- Citus follows functions that depend on a table, and finds no way through those that have others as parameters.
    perform pgretrieval.adapt_functions();
    -- Without policies, row-level security leaves these tables to the owner of the schema.
    for found in
        select polname, polrelid::regclass as relation
        from pg_policy
        where polrelid = any(array(select format('pgretrieval.%I', each)::regclass from unnest(pgretrieval.spread_tables()) as each))
    loop
        execute format('drop policy %I on %s', found.polname, found.relation);
    end loop;
    for found in select each as relation, place from unnest(pgretrieval.spread_tables()) with ordinality as given (each, place) order by place loop
        execute format(
            'select pg_catalog.create_distributed_table(%L, ''bucket'', colocate_with => %L)',
            'pgretrieval.' || found.relation, case found.place when 1 then 'none' else 'pgretrieval.passage' end
        );
    end loop;
end
$function$;
revoke execute on function pgretrieval.distribute() from public;
