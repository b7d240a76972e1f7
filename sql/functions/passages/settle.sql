-- Records what an add decides for its collection: dimensions and encoder, if creation left them open, and that vectors were given. Runs
-- as the owner of the schema, so that writers can change nothing else of a collection, and none of these twice.
create or replace function pgretrieval.settle(
    in_collection integer, dim integer, encoder jsonb, given_vectors boolean, dense_dim integer, given_dense boolean
) returns void
language plpgsql volatile security definer
set search_path from current
as $function$
#variable_conflict use_column
begin
    update pgretrieval.collection held
    set dim = coalesce(held.dim, settle.dim),
        encoder = coalesce(held.encoder, settle.encoder),
        given_vectors = held.given_vectors or coalesce(settle.given_vectors, false),
        dense = case when held.dense = 'auto' and held.dense_dim is null and settle.dense_dim is null then null else held.dense end,
        dense_dim = coalesce(held.dense_dim, settle.dense_dim),
        given_dense = held.given_dense or coalesce(settle.given_dense, false)
    where held.collection_id = in_collection;
end
$function$;
revoke execute on function pgretrieval.settle(integer, integer, jsonb, boolean, integer, boolean) from public;
