-- Whether Postgres alone turns values of a type into text and JSON. Whoever owns a type can give it casts of his own, functions that run
-- with the rights of whoever reads a column; so a type, and what it is an array of, must be a superuser's, and no row of others. What it is a domain
-- over decides for a domain, whose casts do not count.
create or replace function pgretrieval.is_plain(given oid) returns boolean
language sql stable
begin atomic
    with recursive part as (
        select pg_type.typtype, pg_type.typowner,
               case when pg_type.typtype = 'd' then pg_type.typbasetype when pg_type.typcategory = 'A' then pg_type.typelem end as inner_type
        from pg_catalog.pg_type where pg_type.oid = given
        union all
        select pg_type.typtype, pg_type.typowner,
               case when pg_type.typtype = 'd' then pg_type.typbasetype when pg_type.typcategory = 'A' then pg_type.typelem end
        from part join pg_catalog.pg_type on pg_type.oid = part.inner_type
    )
    select coalesce(bool_and(part.typtype = 'd' or part.typtype in ('b', 'e', 'm', 'r') and pg_roles.rolsuper), false)
    from part join pg_catalog.pg_roles on pg_roles.oid = part.typowner;
end;
