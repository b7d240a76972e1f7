-- Rights of the three roles of an application. Run as the schema's current owner or a superuser; can be run again.
--
-- reader: searches. writer: also adds and deletes passages, and runs workers, which must read the attached tables. owner: owns the
-- schema, so also creates, builds, attaches, drops and migrates. docs/reference/row-level-security.md lists what each can read under
-- row-level security.

begin;

-- Only the owner of the extension can update it, and only with rights on what is in it.
do $extension$
declare
    holder pg_catalog.oid := (
        select extowner from pg_catalog.pg_extension where extname operator(pg_catalog.=) 'pgretrieval'
    );
    kept_path pg_catalog.text := pg_catalog.current_setting('search_path');
begin
    perform pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    if holder is not null and ((select rolsuper from pg_roles where oid = holder) or not pg_has_role(holder, 'OWNER'::regrole, 'member'))
        and holder <> 'OWNER'::regrole
    then
        raise exception 'the extension pgretrieval belongs to role %, who could not update it if its tables belonged to %',
            quote_ident(pg_get_userbyid(holder)), 'OWNER'::regrole
            using errcode = 'PGR01',
                  hint = format('Create or restore the extension as that role (SET ROLE %s; CREATE EXTENSION pgretrieval), or name %s as the owner.',
                                'OWNER'::regrole, quote_ident(pg_get_userbyid(holder)));
    end if;
    perform set_config('search_path', kept_path, true);
end
$extension$;

-- Owners come first, because a change of owner locks the table. After a grant, which does not, a vacuum or analyze of the table could
-- deadlock with this transaction. The schema is before its tables, since who takes them, unless a superuser gives them, must be able to
-- create tables there.
alter schema pgretrieval owner to OWNER;
do $own$
declare
    found record;
    kept_path pg_catalog.text := pg_catalog.current_setting('search_path');
begin
    perform pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    for found in
        select format('alter %s pgretrieval.%I owner to OWNER', case relkind when 'v' then 'view' when 'S' then 'sequence' else 'table' end, relname)
            as statement
        from pg_catalog.pg_class
        where relnamespace = 'pgretrieval'::regnamespace
          and (relkind in ('r', 'p', 'v')
               or relkind = 'S' and not exists (select from pg_catalog.pg_depend where objid = pg_class.oid and deptype in ('a', 'i')))
        union all
        select format('alter routine %s owner to OWNER', oid::regprocedure)
        from pg_catalog.pg_proc
        where pronamespace = 'pgretrieval'::regnamespace
        union all
        select format('alter type %s owner to OWNER', pg_type.oid::regtype)
        from pg_catalog.pg_type join pg_catalog.pg_class on pg_class.oid = typrelid
        where typnamespace = 'pgretrieval'::regnamespace and relkind = 'c'
    loop
        execute found.statement;
    end loop;
    for found in
        select quote_ident(nspname) as schema
        from pg_extension join pg_namespace on pg_namespace.oid = extnamespace
        where extname = 'vector' and not has_schema_privilege('public', nspname, 'usage')
    loop
        execute format('grant usage on schema %s to READER, WRITER, OWNER', found.schema);
    end loop;
    perform set_config('search_path', kept_path, true);
end
$own$;

grant usage on schema pgretrieval to READER, WRITER;

-- Partitions are read and written through their parents, which have the policies: only the owner has rights on partitions.
revoke all on all tables in schema pgretrieval from READER, WRITER;

grant select on pgretrieval.collections, pgretrieval.schema_version, pgretrieval.collection, pgretrieval.codebook, pgretrieval.centroid,
    pgretrieval.passage, pgretrieval.token_vector, pgretrieval.token_code, pgretrieval.posting, pgretrieval.posting_code,
    pgretrieval.word_posting, pgretrieval.dense_vector, pgretrieval.proxy_model, pgretrieval.proxy, pgretrieval.score_matrix,
    pgretrieval.anchor_query, pgretrieval.anchor_score, pgretrieval.factorization, pgretrieval.anchor_item, pgretrieval.item_embedding,
    pgretrieval.segment, pgretrieval.removed_passage, pgretrieval.compaction, pgretrieval.rebuild, pgretrieval.attachment
    to READER, WRITER;
-- Writers change passages directly. They insert a passage's other rows; functions delete those with the passage.
grant insert, update, delete on pgretrieval.passage to WRITER;
grant insert on pgretrieval.token_vector, pgretrieval.token_code, pgretrieval.posting, pgretrieval.posting_code,
    pgretrieval.word_posting, pgretrieval.dense_vector, pgretrieval.proxy, pgretrieval.segment to WRITER;
-- The right to update a column allows locking the row, as an add with an older snapshot does; nothing depends on this column.
grant update (created_at) on pgretrieval.collection to WRITER;
-- Keys and errors concern all rows of attached tables.
grant select, insert, update, delete on pgretrieval.queue, pgretrieval.source_passage to WRITER;
-- Changes of a collection lock it by deleting from tables that are always empty.
grant select, update, delete on pgretrieval.change_lock, pgretrieval.following_lock to WRITER;
grant usage on all sequences in schema pgretrieval to WRITER;
-- Functions that run as the schema's owner: the one called by searches, and those called by changes.
grant execute on function pgretrieval.own_entries(text, integer, integer, text[], pgretrieval.claims, boolean) to READER, WRITER;
grant execute on function pgretrieval.settle(integer, integer, jsonb, boolean, integer, boolean),
    pgretrieval.forget_passages(integer, integer[]), pgretrieval.needs_compaction(integer), pgretrieval.compact(text) to WRITER;

-- Sequences of future collections; only the owner has rights on their partitions.
alter default privileges for role OWNER in schema pgretrieval revoke all on tables from READER, WRITER;
alter default privileges for role OWNER in schema pgretrieval grant usage on sequences to WRITER;

commit;
