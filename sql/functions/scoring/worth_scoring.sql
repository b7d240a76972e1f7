-- Those of some passages that are worth exact MaxSim: all where the collection has stored vectors, else so many that centroids score
-- best, since decoding takes longer.
create or replace function pgretrieval.worth_scoring(held pgretrieval.collection, passage_ids integer[], query @extschema:vector@.vector[], pruning integer)
returns integer[]
language plpgsql stable
set search_path from current
as $function$
#variable_conflict use_column
begin
    if held.keep_vectors or held.codebook_id is null or cardinality(passage_ids) <= pruning then
        return passage_ids;
    end if;
    return array(
        select approximate.passage_id
        from pgretrieval.score_centroids(held.collection_id, held.codebook_id, passage_ids, query) as approximate
        order by approximate.score desc, approximate.passage_id
        limit pruning
    );
end
$function$;
