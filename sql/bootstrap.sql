-- Runs first at every migration, in its transaction: sets the search path to schemas where only superusers create objects, admits one
-- installer at a time, checks server and pgvector, and creates the schema. Later files qualify all other names.

do $bootstrap$
declare
    vector_schema pg_catalog.text := pg_catalog.current_schema();  -- where `create extension` installs it
    vector_version pg_catalog.text;
    coordinator pg_catalog.text;
    trusted pg_catalog.oid[];
    stranger record;
begin
    perform pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);

    if current_setting('server_version_num')::integer < 150000 then
        raise exception 'PostgreSQL % is too old', current_setting('server_version')
            using errcode = 'PGR01', hint = 'pgretrieval needs PostgreSQL 15 or later.';
    end if;

    if exists (select from pg_extension where extname = 'pgretrieval')
        and current_setting('pgretrieval.extension_script', true) is distinct from 'yes'
    then
        raise exception 'the schema in database "%" belongs to the extension pgretrieval', current_database()
            using errcode = 'PGR01',
                  hint = 'Upgrade it by its extension: run `pgretrieval package-extension` of this package on the server, then '
                         'ALTER EXTENSION pgretrieval UPDATE.';
    end if;

    if current_setting('server_encoding') <> 'UTF8' then
        raise exception 'database "%" has the encoding %, which cannot hold every text',
            current_database(), current_setting('server_encoding')
            using errcode = 'PGR01',
                  hint = 'Create one with ENCODING ''UTF8'' (CREATE DATABASE ... ENCODING ''UTF8'' TEMPLATE template0) and use that.';
    end if;

    -- A worker of Citus has the distributed tables, but neither the others nor the functions.
    if to_regclass('pg_catalog.pg_dist_local_group') is not null then
        execute 'select coalesce((select nodename || '':'' || nodeport from pg_catalog.pg_dist_node where groupid = 0 limit 1), ''unknown'')
                 from pg_catalog.pg_dist_local_group where groupid <> 0' into coordinator;
        if coordinator is not null then
            raise exception 'database "%" is on a worker of a Citus cluster, whose coordinator is %', current_database(), coordinator
                using errcode = 'PGR01', hint = 'Give the URL of the coordinator.';
        end if;
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
            null;  -- created by another installer
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
    -- The name is inserted into statements and into literals within them.
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

    -- The owner of a schema, and of its objects, decides which code runs there. A superuser is a member of every role, so membership does
    -- not imply trust; on the embedded server all owners are trusted.
    trusted := array(
        select oid from pg_roles
        where rolsuper or rolname = current_user
           or not (select rolsuper from pg_roles where rolname = current_user) and pg_has_role(oid, 'member')
    );
    select nspowner as owner into stranger
    from pg_namespace
    where nspname = 'pgretrieval' and nspowner <> all(trusted)
      and current_setting('pgretrieval.own_server', true) is distinct from 'yes';
    if found then
        raise exception 'the schema pgretrieval belongs to role %, which may put functions and triggers of its own there',
            quote_ident(pg_get_userbyid(stranger.owner))
            using errcode = 'PGR01',
                  hint = format('Where you trust %1$I, migrate as that role or a member of it (a superuser does by options=-crole=%1$s in the '
                                'URL); otherwise drop the schema, or ALTER SCHEMA pgretrieval OWNER TO %2$I once it is empty.',
                                pg_get_userbyid(stranger.owner), current_user);
    end if;
    select pg_describe_object(classid, objid, 0) as what, owned.refobjid as owner into stranger
    from pg_depend
    join pg_shdepend as owned using (classid, objid)
    where pg_depend.refclassid = 'pg_namespace'::regclass and pg_depend.refobjid = to_regnamespace('pgretrieval')
      and owned.refclassid = 'pg_authid'::regclass and owned.deptype = 'o' and owned.refobjid <> all(trusted)
      and owned.dbid = (select oid from pg_database where datname = current_database())
      and current_setting('pgretrieval.own_server', true) is distinct from 'yes'
    limit 1;
    if found then
        raise exception '% in the schema pgretrieval belongs to role %', stranger.what, quote_ident(pg_get_userbyid(stranger.owner))
            using errcode = 'PGR01',
                  hint = 'Look what it is and drop it, or migrate as a role that is a member of its owner, then run this again.';
    end if;

    -- The revision of the schema, in alembic's format. Its lock excludes other installers.
    if to_regclass('pgretrieval.schema_version') is null then
        create table if not exists pgretrieval.schema_version (
            version_num varchar(32) not null,
            constraint schema_version_pkc primary key (version_num)
        );
    end if;
    lock table pgretrieval.schema_version in share row exclusive mode;
    -- Development versions had lower revisions, and at last an 0100 without collection.buckets.
    if exists (
        select from pgretrieval.schema_version
        where version_num collate "C" < '0100'
           or version_num = '0100' and not exists (
                  select from pg_attribute
                  where attrelid = to_regclass('pgretrieval.collection') and attname = 'buckets' and not attisdropped
              )
    ) then
        raise exception 'the schema in this database is at revision %, of before version 0.1.0, which no release upgrades',
            (select min(version_num) from pgretrieval.schema_version)
            using errcode = 'PGR01',
                  hint = 'Save the passages (select key, title, body, metadata from pgretrieval.passage), drop it (drop schema pgretrieval '
                         'cascade), migrate again, and add the passages to new collections.';
    end if;

    -- Readers of the view lock it first and its table second. Revisions change the table before the view is created again, so without
    -- this early lock on the view an upgrade and a reader could deadlock. The statement has no other effect.
    if to_regclass('pgretrieval.collections') is not null then
        alter view pgretrieval.collections set (security_invoker = true);
    end if;
end
$bootstrap$;
