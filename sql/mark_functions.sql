-- Runs last at every migration: which set of functions this database has, so that opening it need not create them again, and an older
-- client does not put its own in their place.
comment on schema pgretrieval is 'functions DIGEST NUMBER';
-- What runs as its owner is the schema's owner's, whoever installs it. Who may read passages may call the one of its functions that searches
-- call, and who may add passages those that changes call, before privileges.sql is run again.
do $rights$
declare
    found record;
begin
    for found in
        select format('alter function %s owner to %s', pg_proc.oid::regprocedure, nspowner::regrole) as statement
        from pg_proc join pg_namespace on pg_namespace.oid = pronamespace
        where nspname = 'pgretrieval' and prosecdef and proowner <> nspowner
        union all
        select distinct format(
            'grant execute on function %s to %s',
            pg_proc.oid::regprocedure, case when acl.grantee = 0 then 'public' else quote_ident(pg_get_userbyid(acl.grantee)) end
        )
        from pg_class as passage
        cross join lateral aclexplode(passage.relacl) as acl
        join pg_proc
            on pronamespace = 'pgretrieval'::regnamespace and prosecdef
            and case acl.privilege_type
                    when 'SELECT' then proname = 'own_entries'
                    when 'INSERT' then proname in ('settle', 'forget_passages', 'needs_compaction', 'compact')
                end
        where passage.oid = 'pgretrieval.passage'::regclass and acl.grantee <> passage.relowner
    loop
        execute found.statement;
    end loop;
end
$rights$;
