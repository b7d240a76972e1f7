-- Runs first at every migration, inside its transaction: one installer at a time, the server and pgvector checked, the schema made, and
-- the search path set, before anything else, to where only superusers create objects. Later files name what else they use with its schema.

do $bootstrap$
declare
    vector_schema pg_catalog.text := pg_catalog.current_schema();  -- where `create extension` puts it
    vector_version pg_catalog.text;
begin
    perform pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);

    if current_setting('server_version_num')::integer < 150000 then
        raise exception 'PostgreSQL % is too old', current_setting('server_version')
            using errcode = 'PGR01', hint = 'pgretrieval needs PostgreSQL 15 or later.';
    end if;

    if current_setting('server_encoding') <> 'UTF8' then
        raise exception 'database "%" has the encoding %, which cannot hold every text',
            current_database(), current_setting('server_encoding')
            using errcode = 'PGR01',
                  hint = 'Create one with ENCODING ''UTF8'' (CREATE DATABASE ... ENCODING ''UTF8'' TEMPLATE template0) and use that.';
    end if;

    if not exists (select from pg_extension where extname = 'vector') then
        if not exists (select from pg_available_extensions where name = 'vector') then
            raise exception 'pgvector is not installed on this server'
                using errcode = 'PGR02',
                      hint = 'Install pgvector 0.8 or later on the server (https://github.com/pgvector/pgvector), then run this again.';
        end if;
        if vector_schema is null then
            raise exception 'the extension "vector" is not created in database "%", and the search path names no schema for it',
                current_database()
                using errcode = 'PGR02', hint = 'Run CREATE EXTENSION vector SCHEMA … in this database.';
        end if;
        begin
            execute format('create extension vector schema %I', vector_schema);
        exception when unique_violation or duplicate_object then
            null;  -- another installer was faster
        when insufficient_privilege then
            raise exception 'the extension "vector" is not created in database "%" and role "%" may not create it',
                current_database(), current_user
                using errcode = 'PGR02', hint = 'Ask an administrator to run CREATE EXTENSION vector in this database.';
        end;
    end if;

    select extversion, nspname into vector_version, vector_schema
    from pg_extension join pg_namespace on pg_namespace.oid = extnamespace
    where extname = 'vector';
    if string_to_array(regexp_replace(vector_version, '[^0-9.].*$', ''), '.')::integer[] < array[0, 8] then
        raise exception 'pgvector % is too old', vector_version
            using errcode = 'PGR03',
                  hint = 'pgretrieval needs pgvector 0.8 or later: update the package, then ALTER EXTENSION vector UPDATE.';
    end if;
    -- The name stands in statements and in literals within them.
    if vector_schema ~ '["''$\\%@]' then
        raise exception 'pgvector is in schema %, whose name has a character that statements cannot quote everywhere', quote_ident(vector_schema)
            using errcode = 'PGR02', hint = 'Move it: ALTER EXTENSION vector SET SCHEMA, to one with a name of letters, digits and blanks.';
    end if;
    if not has_schema_privilege(vector_schema, 'usage') then
        raise exception 'pgvector is in schema %, which role % may not use', quote_ident(vector_schema), quote_ident(current_user)
            using errcode = 'PGR02', hint = format('Have its owner run GRANT USAGE ON SCHEMA %I TO %I.', vector_schema, current_user);
    end if;

    if to_regnamespace('pgretrieval') is null then
        begin
            create schema pgretrieval;
        exception when unique_violation or duplicate_schema then
            null;
        end;
    end if;
    if to_regclass('pgretrieval.schema_version') is not null then
        lock table pgretrieval.schema_version in share row exclusive mode;
    end if;

    -- Who reads the view locks it first and its table second. Revisions change the table and the view is created after them, so without
    -- the view's lock from the beginning an upgrade and a reader could wait for each other. The statement changes nothing else.
    if to_regclass('pgretrieval.collections') is not null then
        alter view pgretrieval.collections set (security_invoker = true);
    end if;
end
$bootstrap$;
