-- name: relation
-- Resolve a table name, quoted or not, with or without its schema.
select pg_catalog.concat(pg_catalog.quote_ident(nspname), '.', pg_catalog.quote_ident(relname))
from pg_catalog.pg_class join pg_catalog.pg_namespace on pg_namespace.oid = relnamespace
where relkind in ('r', 'p', 'v', 'm', 'f')
  and (%(name)s in (pg_catalog.concat(nspname, '.', relname),
                    pg_catalog.concat(pg_catalog.quote_ident(nspname), '.', pg_catalog.quote_ident(relname)))
       or pg_catalog.pg_table_is_visible(pg_class.oid) and %(name)s in (relname, pg_catalog.quote_ident(relname)))

-- name: tables
select pg_catalog.concat(pg_catalog.quote_ident(nspname), '.', pg_catalog.quote_ident(relname))
from pg_catalog.pg_class join pg_catalog.pg_namespace on pg_namespace.oid = relnamespace
where relkind in ('r', 'p') and not relispartition and relpersistence <> 't'
  and nspname not in ('pg_catalog', 'information_schema', 'pgretrieval')
order by 1

-- name: attach
select pgretrieval.attach(%(name)s, %(source)s::regclass, %(id)s, %(texts)s::text[], %(metadata)s::text[], %(query)s)

-- name: indexed
-- Whether an index supports look-ups by the key.
select exists (
    select from pg_catalog.pg_index
    join pg_catalog.pg_attribute on attrelid = indrelid and attnum = indkey[0]
    where indrelid = %(source)s::regclass::oid and attname = %(id)s
)

-- name: detach
select pgretrieval.detach(%(name)s)

-- name: resync
select pgretrieval.resync(%(name)s, %(keys)s::text[])

-- name: attached
select collection_id, name,
       coalesce(
           (select pg_catalog.concat(pg_catalog.quote_ident(nspname), '.', pg_catalog.quote_ident(relname))
            from pg_catalog.pg_class join pg_catalog.pg_namespace on pg_namespace.oid = relnamespace
            where pg_class.oid = source::oid),
           source_name
       ),
       query is not null
from pgretrieval.attachment join pgretrieval.collection using (collection_id)
order by name

-- name: state
select pgretrieval.sync_state(%(collection_id)s)
