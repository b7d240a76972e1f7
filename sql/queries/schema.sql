-- name: version
select version_num from pgretrieval.schema_version

-- name: exists
select pg_catalog.to_regclass('pgretrieval.schema_version') is not null

-- name: has_citus
select pg_catalog.to_regclass('pg_catalog.pg_dist_local_group') is not null

-- name: coordinator_of_worker
-- Nothing on a coordinator.
select coalesce(
    (select pg_catalog.concat(nodename, ':', nodeport) from pg_catalog.pg_dist_node where groupid = 0 limit 1), 'not known to it'
)
from pg_catalog.pg_dist_local_group where groupid <> 0

-- name: has_extension
-- Whether the schema belongs to the extension.
select exists (select from pg_catalog.pg_extension where extname = 'pgretrieval')

-- name: keep_search_path
-- An upgrade that waits for a table blocks all later requests, so its lock_timeout is short.
select pg_catalog.set_config('pgretrieval.search_path', pg_catalog.current_setting('search_path'), true),
       pg_catalog.set_config('pgretrieval.lock_timeout', pg_catalog.current_setting('lock_timeout'), true),
       pg_catalog.set_config('lock_timeout', coalesce(nullif(pg_catalog.current_setting('lock_timeout'), '0'), '2s'), true);

-- name: safe_search_path
select pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);

-- name: restore_search_path
select pg_catalog.set_config('search_path', pg_catalog.current_setting('pgretrieval.search_path'), true),
       pg_catalog.set_config('lock_timeout', pg_catalog.current_setting('pgretrieval.lock_timeout'), true);

-- name: limit_waiting
-- Limit one of several tries, unless a lock_timeout is set.
select pg_catalog.current_setting('lock_timeout') = '0',
       pg_catalog.set_config('lock_timeout', coalesce(nullif(pg_catalog.current_setting('lock_timeout'), '0'), '100ms'), true)

-- name: in_the_way
-- Sessions that use the schema's tables.
select pg_catalog.string_agg(distinct pg_catalog.concat('process ', pid, ' (', pg_stat_activity.state, ')'), ', ')
from pg_catalog.pg_locks
left join pg_catalog.pg_stat_activity using (pid)
where relation in (select oid from pg_catalog.pg_class where relnamespace = pg_catalog.to_regnamespace('pgretrieval')::oid)
  and pg_locks.database = (select oid from pg_catalog.pg_database where datname = pg_catalog.current_database())
  and granted and (pid <> pg_catalog.pg_backend_pid()) is not false

-- name: own_server
-- Only its own user can connect to the embedded server, so any owner of the schema is trusted.
select pg_catalog.set_config('pgretrieval.own_server', 'yes', false)

-- name: refused_vector_schema
-- pgvector's schema and the current role, if the role may not use it.
select pg_catalog.quote_ident(nspname), pg_catalog.quote_ident(current_user)
from pg_catalog.pg_extension join pg_catalog.pg_namespace on pg_namespace.oid = extnamespace
where extname = 'vector' and not pg_catalog.has_schema_privilege(pg_namespace.oid, 'usage')

-- name: set_version
delete from pgretrieval.schema_version;
insert into pgretrieval.schema_version (version_num) values ('{revision}');

-- name: keep_local
-- Citus tries to create each function on its workers, too; those that read tables stay on the coordinator.
select pg_catalog.set_config('citus.enable_ddl_propagation', 'off', true);

-- name: adapt_functions
select pg_catalog.set_config('citus.enable_ddl_propagation', 'on', true);
select pgretrieval.adapt_functions() where pgretrieval.is_distributed();

-- name: distribute
select pgretrieval.distribute()

-- name: drop
do $drop$
begin
    drop schema pgretrieval cascade;
exception when out_of_memory then
    raise exception 'the schema has more tables than the server can lock in one transaction' using errcode = 'out_of_memory',
        hint = 'Drop its collections first, each in a transaction of its own, or raise max_locks_per_transaction.';
end
$drop$;
