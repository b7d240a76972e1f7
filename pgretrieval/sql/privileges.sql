-- What the three roles of an application need. Run as the schema's present owner or a superuser; running it again is fine.
--
-- reader: searches. writer: also adds and deletes passages, and runs workers, which need to read the attached tables. owner: owns the
-- schema, so also creates, builds, attaches, drops and migrates.

grant usage on schema pgretrieval to READER, WRITER;
grant select on all tables in schema pgretrieval to READER, WRITER;

grant insert, update, delete on pgretrieval.passage, pgretrieval.token_vector, pgretrieval.token_code, pgretrieval.posting,
    pgretrieval.posting_code, pgretrieval.word_posting, pgretrieval.dense_vector, pgretrieval.segment, pgretrieval.removed_passage,
    pgretrieval.compaction to WRITER;
grant insert, delete on pgretrieval.proxy to WRITER;
grant delete on pgretrieval.anchor_score, pgretrieval.item_embedding to WRITER;
grant update (dim, encoder, given_vectors, mean_words, dense_dim, given_dense) on pgretrieval.collection to WRITER;
grant insert, update, delete on pgretrieval.queue, pgretrieval.source_passage to WRITER;
grant usage on all sequences in schema pgretrieval to WRITER;
-- Keys and errors are of all rows, whatever row-level security hides from a reader.
revoke select on pgretrieval.queue, pgretrieval.source_passage from READER;

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
alter schema pgretrieval owner to OWNER;

-- Partitions and sequences of collections to come.
alter default privileges for role OWNER in schema pgretrieval grant select on tables to READER, WRITER;
alter default privileges for role OWNER in schema pgretrieval grant usage on sequences to WRITER;
