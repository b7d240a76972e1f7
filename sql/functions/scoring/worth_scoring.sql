-- Those of some passages that are worth exact MaxSim for k hits: all where the collection has stored vectors, else those that centroids
-- score best, since decoding takes longer. Of pooled passages more, which have fewer vectors.
create or replace function pgretrieval.worth_scoring(held pgretrieval.collection, passage_ids integer[], query @extschema:vector@.vector[], k integer)
returns integer[]
language plpgsql stable
set search_path from current
as $function$
#variable_conflict use_column
declare
    decoded integer := greatest(
        64, 5 * k, case when held.vectors_per_passage is not null then least(256, 8192 / held.vectors_per_passage) end
    );
begin
    if held.keep_vectors or held.codebook_id is null or cardinality(passage_ids) <= decoded then
        return passage_ids;
    end if;
    return array(
        select approximate.passage_id
        from pgretrieval.score_centroids(held.collection_id, held.codebook_id, passage_ids, query) as approximate
        order by approximate.score desc, approximate.passage_id
        limit decoded
    );
end
$function$;
