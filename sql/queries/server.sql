-- name: restricted
-- Whether row-level security hides rows of a table from this role.
select pg_catalog.row_security_active(%(table)s)

-- name: server_process
select pg_catalog.pg_backend_pid()

-- name: server_database
-- Identity of the database and its server.
select system_identifier, oid from pg_catalog.pg_control_system(), pg_catalog.pg_database where datname = pg_catalog.current_database()

-- name: waits_for_client
-- Null if the process has ended.
select (select coalesce(wait_event = 'ClientRead', false) from pg_catalog.pg_stat_activity where pid = %(pid)s)

-- name: without_time_limits
-- For long work, in this transaction or in the whole session.
select pg_catalog.set_config(name, '0', %(local)s) from pg_catalog.pg_settings
where name in ('statement_timeout', 'idle_in_transaction_session_timeout', 'transaction_timeout') and setting <> '0'

-- name: written
-- The end of the primary's write-ahead log.
select pg_catalog.pg_current_wal_insert_lsn()::text

-- name: plan_by_values
-- A generic plan would lock the partitions of all collections.
select pg_catalog.set_config('plan_cache_mode', 'force_custom_plan', false)

-- name: server_settings
select name, pg_catalog.current_setting(name) from pg_catalog.pg_settings
where name in ('server_version', 'shared_buffers', 'effective_cache_size', 'maintenance_work_mem', 'work_mem', 'max_wal_size',
               'random_page_cost', 'jit')
union all
select 'pgvector', extversion from pg_catalog.pg_extension where extname = 'vector'

-- name: functions
-- Digest and number of the set of functions; null if migrated before sets were numbered.
select held[1], coalesce(held[2]::integer, 0)
from pg_catalog.regexp_match(
    pg_catalog.obj_description(pg_catalog.to_regnamespace('pgretrieval'), 'pg_namespace'),
    '^functions ([0-9a-f]+)(?: ([0-9]{1,9}))?$'
) as held
