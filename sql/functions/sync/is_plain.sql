-- Returns whether Postgres itself converts values of a type to text and JSON. The owner of a type can define casts, functions that run
-- with the rights of whoever reads a column; so the type, and that of an array's elements, must belong to a superuser and must not be a
-- row type. For a domain, whose casts are ignored, its base type decides.
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
