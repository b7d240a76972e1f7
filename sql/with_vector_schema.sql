-- Runs a file with the name of pgvector's schema in place of @extschema:vector@, as PostgreSQL spells it in scripts of extensions: a
-- file names everything of pgvector with its schema, and needs no search path that others may put objects of their own into.
do $pgretrieval_run$
begin
    execute pg_catalog.replace(
        $pgretrieval_file$
FILE
        $pgretrieval_file$,
        '@extschema:vector@',
        (
            select pg_catalog.quote_ident(nspname)
            from pg_catalog.pg_extension
            join pg_catalog.pg_namespace on pg_namespace.oid operator(pg_catalog.=) extnamespace
            where extname operator(pg_catalog.=) 'vector'
        )
    );
end
$pgretrieval_run$;
