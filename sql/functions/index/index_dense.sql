-- The vector index over one encoding of the dense vectors that a collection keeps, once it is known how many dimensions they have. One
-- over all, as collections were made with, goes.
create or replace function pgretrieval.index_dense(in_collection integer, in_encoding integer, dims integer) returns void
language plpgsql volatile
set search_path from current
as $function$
begin
    if dims is null then
        return;
    end if;
    perform pgretrieval.limit_parallel_builds();
    execute format(
        'create index if not exists %I on pgretrieval.%I using hnsw ((vector::@extschema:vector@.halfvec(%s)) @extschema:vector@.halfvec_ip_ops) where encoding = %s',
        'dense_vector_' || in_collection || '_' || in_encoding || '_hnsw', 'dense_vector_' || in_collection, dims, in_encoding
    );
    perform pgretrieval.drop_index('dense_vector_' || in_collection, 'dense_vector_' || in_collection || '_hnsw');
end
$function$;
