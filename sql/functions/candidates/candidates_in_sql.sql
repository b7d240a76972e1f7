-- The passages that a search in SQL scores exactly: all that match where the collection has no index yet, else n of them by postings.
create or replace function pgretrieval.candidates_in_sql(
    held pgretrieval.collection, query @extschema:vector@.vector[], probes integer, n integer, filter jsonpath, among text[]
) returns setof integer
language plpgsql stable rows 100
set search_path from current
set plan_cache_mode = force_custom_plan
as $function$
#variable_conflict use_column
declare
    centroid_ids integer[];
    centroid_scores real[];
begin
    if held.codebook_id is null then
        return query
        select passage.passage_id from pgretrieval.passage
        where passage.collection_id = held.collection_id
          and (filter is null or passage.metadata @@ filter)
          and (among is null or passage.key = any(among));
        return;
    end if;
    select array_agg(centroid_id), array_agg(probe.score) into centroid_ids, centroid_scores
    from pgretrieval.probe(held.collection_id, held.codebook_id, query, probes);
    return query
    select candidate.passage_id
    from pgretrieval.candidates_among(
        held.collection_id, held.codebook_id, centroid_ids, centroid_scores, n, filter, among
    ) as candidate;
end
$function$;
