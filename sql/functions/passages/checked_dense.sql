-- Returns a dense vector in the form that is used, of unit length if the collection stores them; null stays null. Raises an error that
-- names `what` the vector is of.
create or replace function pgretrieval.checked_dense(held pgretrieval.collection, what text, dense @extschema:vector@.vector) returns @extschema:vector@.vector
language plpgsql immutable
set search_path from current
as $function$
begin
    if @extschema:vector@.vector_norm(dense) = 0 then
        raise exception 'the dense vector of % is zero and has no direction', what using errcode = 'PGR05';
    end if;
    if @extschema:vector@.vector_dims(dense) <> held.dense_dim or held.dense in ('kept', 'auto') and @extschema:vector@.vector_dims(dense) > 4000 then
        raise exception 'the dense vector of % has % dimensions, but %', what, @extschema:vector@.vector_dims(dense),
            coalesce('the collection''s have ' || held.dense_dim, '4,000 is the maximum') using errcode = 'PGR05';
    end if;
    return case when held.dense in ('kept', 'auto') then @extschema:vector@.l2_normalize(dense) else dense end;
end
$function$;
