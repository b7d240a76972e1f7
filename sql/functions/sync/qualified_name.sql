-- A table's name with its schema, quoted; null where there is no such table any more.
create or replace function pgretrieval.qualified_name(relation regclass) returns text
language sql stable
begin atomic
    select format('%I.%I', nspname, relname)
    from pg_catalog.pg_class join pg_catalog.pg_namespace on pg_namespace.oid = relnamespace
    where pg_class.oid = relation;
end;
