-- What 0012_soundness.sql made, taken back.

drop function if exists pgretrieval.score_tokens(
    pgretrieval.collection, @extschema:vector@.vector[], integer[], integer, text, jsonpath, text[]
);
drop function if exists pgretrieval.probes_for(pgretrieval.collection, @extschema:vector@.vector[], bigint);
