-- Exact MaxSim of some passages: over their stored vectors where the collection has them, else over what their codes decode to. None
-- for null.
create or replace function pgretrieval.score_passages(held pgretrieval.collection, passage_ids integer[], query @extschema:vector@.vector[])
returns table (passage_id integer, score real)
language plpgsql stable rows 100
set search_path from current
as $function$
begin
    if query is null then
        return;
    elsif held.keep_vectors or held.codebook_id is null then
        return query select * from pgretrieval.score_vectors(held.collection_id, passage_ids, query);
    else
        return query select * from pgretrieval.score_codes(held.collection_id, held.codebook_id, passage_ids, query);
    end if;
end
$function$;
