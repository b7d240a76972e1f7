-- name: keep_search_path
select pg_catalog.set_config('pgretrieval.search_path', pg_catalog.current_setting('search_path'), true);

-- name: safe_search_path
select pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);

-- name: restore_search_path
select pg_catalog.set_config('search_path', pg_catalog.current_setting('pgretrieval.search_path'), true);

-- name: set_version
delete from pgretrieval.schema_version;
insert into pgretrieval.schema_version (version_num) values ('{revision}');

-- name: drop
drop schema pgretrieval cascade;
