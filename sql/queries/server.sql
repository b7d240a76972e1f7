-- name: restricted
-- Whether row-level security hides rows of a table from this role.
select pg_catalog.row_security_active(%(table)s)

-- name: server_process
select pg_catalog.pg_backend_pid()

-- name: server_database
-- Which database of which server this is.
select system_identifier, oid from pg_catalog.pg_control_system(), pg_catalog.pg_database where datname = pg_catalog.current_database()

-- name: waits_for_client
-- Null where there is no such process any more.
select (select coalesce(wait_event = 'ClientRead', false) from pg_catalog.pg_stat_activity where pid = %(pid)s)

-- name: without_time_limits
-- For work that takes as long as it takes, of this transaction or of the whole session.
select pg_catalog.set_config(name, '0', %(local)s) from pg_catalog.pg_settings
where name in ('statement_timeout', 'idle_in_transaction_session_timeout', 'transaction_timeout') and setting <> '0'

-- name: plan_by_values
-- A plan that any parameters fit would lock the partitions of all collections, each time.
select pg_catalog.set_config('plan_cache_mode', 'force_custom_plan', false)

-- name: server_settings
select name, pg_catalog.current_setting(name) from pg_catalog.pg_settings
where name in ('server_version', 'shared_buffers', 'effective_cache_size', 'maintenance_work_mem', 'work_mem', 'max_wal_size',
               'random_page_cost', 'jit')
union all
select 'pgvector', extversion from pg_catalog.pg_extension where extname = 'vector'

-- name: functions
-- Digest and number of the set of functions; databases that were migrated before sets had numbers have none.
select held[1], coalesce(held[2]::integer, 0)
from pg_catalog.regexp_match(
    pg_catalog.obj_description(pg_catalog.to_regnamespace('pgretrieval'), 'pg_namespace'),
    '^functions ([0-9a-f]+)(?: ([0-9]{1,9}))?$'
) as held
