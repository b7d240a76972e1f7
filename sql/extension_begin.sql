-- pgretrieval VERSION, revision REVISION, functions NUMBER
\echo Use "CREATE EXTENSION pgretrieval" or "ALTER EXTENSION pgretrieval UPDATE" to load this file. \quit

-- bootstrap.sql refuses a database with the extension to all but its scripts.
select pg_catalog.set_config('pgretrieval.extension_script', 'yes', true);
