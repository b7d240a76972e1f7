-- Runs first at every migration, inside its transaction: one installer at a time, the server and pgvector checked,
-- the schema made, and the search path set so that later files find pgvector's types wherever they are installed.

do $bootstrap$
declare
    vector_version text;
begin
    perform pg_advisory_xact_lock(7453017, 1);

    if current_setting('server_version_num')::integer < 150000 then
        raise exception 'PostgreSQL % is too old', current_setting('server_version')
            using errcode = 'PGR01', hint = 'pgretrieval needs PostgreSQL 15 or later.';
    end if;

    if not exists (select from pg_catalog.pg_extension where extname = 'vector') then
        if not exists (select from pg_catalog.pg_available_extensions where name = 'vector') then
            raise exception 'pgvector is not installed on this server'
                using errcode = 'PGR02',
                      hint = 'Install pgvector 0.8 or later on the server (https://github.com/pgvector/pgvector), then run this again.';
        end if;
        begin
            create extension vector;
        exception when insufficient_privilege or invalid_schema_name then
            raise exception 'the extension "vector" is not created in database "%" and role "%" may not create it',
                current_database(), current_user
                using errcode = 'PGR02', hint = 'Ask an administrator to run CREATE EXTENSION vector in this database.';
        end;
    end if;

    select extversion into vector_version from pg_catalog.pg_extension where extname = 'vector';
    if string_to_array(regexp_replace(vector_version, '[^0-9.].*$', ''), '.')::integer[] < array[0, 8] then
        raise exception 'pgvector % is too old', vector_version
            using errcode = 'PGR03',
                  hint = 'pgretrieval needs pgvector 0.8 or later: update the package, then ALTER EXTENSION vector UPDATE.';
    end if;

    if pg_catalog.to_regnamespace('pgretrieval') is null then
        create schema pgretrieval;
    end if;

    -- Who reads the view locks it first and its table second. Revisions change the table and the view is created after them, so without
    -- the view's lock from the beginning an upgrade and a reader could wait for each other. The statement changes nothing else.
    if pg_catalog.to_regclass('pgretrieval.collections') is not null then
        alter view pgretrieval.collections set (security_invoker = true);
    end if;

    perform pg_catalog.set_config(
        'search_path',
        'pg_catalog, ' || (
            select pg_catalog.quote_ident(nspname)
            from pg_catalog.pg_extension
            join pg_catalog.pg_namespace on pg_namespace.oid = extnamespace
            where extname = 'vector'
        ) || ', pg_temp',
        true
    );
end
$bootstrap$;
