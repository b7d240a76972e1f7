-- Rights, identities and limits that the tables themselves hold.

-- Functions look for text search configurations in pg_catalog alone; one of pgvector's schema, which was on their path, gets its schema.
update pgretrieval.collection
set language = format('%I.%I', nspname, cfgname)
from pg_catalog.pg_extension
join pg_catalog.pg_namespace on pg_namespace.oid = extnamespace
join pg_catalog.pg_ts_config on cfgnamespace = extnamespace
where extname = 'vector' and language = quote_ident(cfgname) and not exists (
    select from pg_catalog.pg_ts_config as own where own.cfgname = pg_ts_config.cfgname and own.cfgnamespace = 'pg_catalog'::regnamespace
);

-- Each query token looks up as many centroids as it needs, so this has other arguments.
drop function if exists pgretrieval.score_tokens(
    pgretrieval.collection, @extschema:vector@.vector[], integer, integer, text, jsonpath, text[]
);
