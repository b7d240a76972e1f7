-- Returns the collection's row. Raises an error if there is none of that name, or if `factorized` and it has no factorisation.
create or replace function pgretrieval.known_collection(name text, factorized boolean default false) returns pgretrieval.collection
language plpgsql stable
set search_path from current
as $function$
declare
    found_row pgretrieval.collection;
begin
    select * into found_row from pgretrieval.collection c where c.name = known_collection.name;
    if not found then
        raise exception 'no collection % in this database', coalesce(quote_literal(known_collection.name), 'null')
            using errcode = 'PGR04', hint = 'select name from pgretrieval.collections lists those that there are.';
    end if;
    if factorized and found_row.factorization_id is null then
        raise exception 'collection % has no factorisation', quote_literal(found_row.name)
            using errcode = 'PGR05', hint = 'Make one: collection.factorize(…) in Python, or `pgretrieval factorize`.';
    end if;
    return found_row;
end
$function$;
