-- The vector index over the item embeddings of one factorisation, in single or half precision as that says.
create or replace function pgretrieval.index_embeddings(in_factorization integer) returns void
language plpgsql volatile
set search_path from current
as $function$
declare
    made pgretrieval.factorization;
begin
    select * into strict made from pgretrieval.factorization f where f.factorization_id = in_factorization;
    perform pgretrieval.limit_parallel_builds();
    execute format(
        'create index if not exists %I on pgretrieval.%I using hnsw ((embedding::@extschema:vector@.%s(%s)) @extschema:vector@.%s_ip_ops)',
        'item_embedding_' || in_factorization || '_hnsw', 'item_embedding_' || in_factorization,
        made.element, made.anchor_items, made.element
    );
end
$function$;
