-- name: explain
explain (format json)

-- name: index_rows_done
select tuples_done from pg_catalog.pg_stat_progress_create_index
where relid = pg_catalog.to_regclass(pg_catalog.concat('pgretrieval.proxy_', %(codebook_id)s::integer))::oid
