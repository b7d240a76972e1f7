-- The vector index over the dense vectors that a collection keeps, once it is known how many dimensions they have.
create or replace function pgretrieval.index_dense(in_collection integer) returns void
language plpgsql volatile
set search_path from current
as $function$
declare
    dims integer;
begin
    select c.dense_dim into dims from pgretrieval.collection c where c.collection_id = in_collection and c.dense = 'kept';
    if dims is null then
        return;
    end if;
    perform pgretrieval.limit_parallel_builds();
    execute format(
        'create index if not exists %I on pgretrieval.%I using hnsw ((vector::halfvec(%s)) halfvec_ip_ops)',
        'dense_vector_' || in_collection || '_hnsw', 'dense_vector_' || in_collection, dims
    );
end
$function$;
