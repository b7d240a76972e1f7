-- Returns the token vectors of a passage or query. Raises an error that names `what` they are of, and the first token that is null,
-- zero, or of another dimension than the collection's (`dim`, null before the first add).
create or replace function pgretrieval.checked_vectors(what text, vectors @extschema:vector@.vector[], dim integer) returns @extschema:vector@.vector[]
language plpgsql immutable
set search_path from current
as $function$
declare
    token integer;
    dims integer;
begin
    if coalesce(cardinality(vectors), 0) = 0 or array_ndims(vectors) <> 1 then
        raise exception 'the vectors of % are not a list with at least one token', what
            using errcode = 'PGR05', hint = 'Give a one-dimensional array of vectors, one for each token.';
    end if;
    if what = 'the query' and cardinality(vectors) > 1600 then  -- a statement has no more columns
        raise exception 'the query has % token vectors', cardinality(vectors) using errcode = 'PGR05', hint = 'Give at most 1,600.';
    end if;
    dim := coalesce(dim, @extschema:vector@.vector_dims(vectors[array_lower(vectors, 1)]));
    select place, @extschema:vector@.vector_dims(given.vector) into token, dims
    from unnest(vectors) with ordinality as given (vector, place)
    where given.vector is null or @extschema:vector@.vector_dims(given.vector) <> dim or @extschema:vector@.vector_norm(given.vector) = 0
    order by place limit 1;
    if found then
        if dims <> dim then
            raise exception 'the vectors of % have % dimensions (first at token %), but the collection has %', what, dims, token, dim
                using errcode = 'PGR05';
        end if;
        raise exception 'the vectors of % contain % (first at token %)%', what,
            case when dims is null then 'null' else 'a zero vector' end, token,
            case when dims is null then '' else ', which has no direction' end
            using errcode = 'PGR05', hint = 'Leave such tokens out.';
    end if;
    return vectors;
end
$function$;
