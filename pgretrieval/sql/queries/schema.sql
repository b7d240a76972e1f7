-- name: keep_search_path
select set_config('pgretrieval.search_path', current_setting('search_path'), true);

-- name: restore_search_path
select set_config('search_path', current_setting('pgretrieval.search_path'), true);

-- name: set_version
delete from pgretrieval.schema_version;
insert into pgretrieval.schema_version (version_num) values ('{revision}');

-- name: drop
drop schema pgretrieval cascade;
