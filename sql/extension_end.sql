-- pg_dump keeps the rows and numbers of these tables and sequences. Partitions are no members of the extension, so it keeps them whole.
do $configuration$
declare
    found record;
begin
    for found in
        select pg_class.oid::regclass as relation, relispartition
        from pg_catalog.pg_class
        join pg_catalog.pg_depend
            on classid operator(pg_catalog.=) 'pg_catalog.pg_class'::regclass and objid operator(pg_catalog.=) pg_class.oid
            and deptype operator(pg_catalog.=) 'e'
        where relnamespace operator(pg_catalog.=) 'pgretrieval'::regnamespace
          and relkind operator(pg_catalog.=) any (array['r', 'S']::"char"[])
          and relname operator(pg_catalog.<>) 'schema_version'
    loop
        if found.relispartition then  -- made by a revision for a collection that was there
            execute pg_catalog.format('alter extension pgretrieval drop table %s', found.relation);
        else
            perform pg_catalog.pg_extension_config_dump(found.relation, '');
        end if;
    end loop;
end
$configuration$;
select pg_catalog.set_config('pgretrieval.extension_script', '', true);
