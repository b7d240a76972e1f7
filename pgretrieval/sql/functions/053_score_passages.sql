-- Exact MaxSim of the passages that are worth it for k hits: over their stored vectors where the collection has them; else over their
-- codes, of those alone that centroids score best, since decoding takes longer.
create or replace function pgretrieval.score_passages(held pgretrieval.collection, passage_ids integer[], query vector[], k integer)
returns table (passage_id integer, score real)
language plpgsql stable rows 100
set search_path from current
as $function$
#variable_conflict use_column
declare
    decoded integer := greatest(64, 5 * k);
begin
    if held.keep_vectors or held.codebook_id is null then
        return query select * from pgretrieval.score_vectors(held.collection_id, passage_ids, query);
        return;
    end if;
    if cardinality(passage_ids) > decoded then
        passage_ids := array(
            select approximate.passage_id
            from pgretrieval.score_centroids(held.collection_id, held.codebook_id, passage_ids, query) as approximate
            order by approximate.score desc, approximate.passage_id
            limit decoded
        );
    end if;
    return query select * from pgretrieval.score_codes(held.collection_id, held.codebook_id, passage_ids, query);
end
$function$;
