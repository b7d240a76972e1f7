-- The collection's row; an error where there is none of that name, or no factorisation of it.
create or replace function pgretrieval.factorized_collection(name text) returns pgretrieval.collection
language plpgsql stable
set search_path from current
as $function$
declare
    held pgretrieval.collection := pgretrieval.known_collection(factorized_collection.name);
begin
    if held.factorization_id is null then
        raise exception 'collection % has no factorisation', quote_literal(held.name)
            using errcode = 'PGR05', hint = 'Make one: collection.factorize(…) in Python, or `pgretrieval factorize`.';
    end if;
    return held;
end
$function$;
