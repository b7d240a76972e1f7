-- Returns the passages that a search in SQL scores exactly: without an index all that match, else n candidates by postings, by the best
-- centroid of each query token. If codes must be decoded, which is slow, only the `pruning` candidates with the best rough scores by the
-- tokens of probed centroids are kept; null keeps all (docs/design/sql-searches.md).
create or replace function pgretrieval.candidates_in_sql(
    held pgretrieval.collection, query @extschema:vector@.vector[], probes integer, n integer, pruning integer, filter jsonpath, among text[]
) returns integer[]
language plpgsql stable
set search_path from current
set plan_cache_mode = force_custom_plan
as $function$
#variable_conflict use_column
declare
    query_tokens integer[];
    centroid_ids integer[];
    centroid_scores real[];
    floors real[];
    chosen integer[];
begin
    if held.codebook_id is null then
        return array(
            select passage.passage_id from pgretrieval.passage
            where passage.collection_id = held.collection_id
              and (filter is null or passage.metadata @@ filter)
              and (among is null or passage.key = any(among))
        );
    end if;
    select array_agg(probe.token), array_agg(probe.centroid_id), array_agg(probe.score), array_agg(probe.floor)
    into query_tokens, centroid_ids, centroid_scores, floors
    from pgretrieval.probe(held.collection_id, held.codebook_id, query, probes) as probe;
    chosen := array(
        select candidate.passage_id
        from pgretrieval.candidates_among(
            held.collection_id, held.codebook_id, centroid_ids, centroid_scores, n, filter, among, query_tokens
        ) as candidate
    );
    if held.keep_vectors or cardinality(chosen) <= pruning then
        return chosen;
    end if;
    floors := array(
        select max(probe.floor) from unnest(query_tokens, floors) as probe (token, floor) group by probe.token order by probe.token
    );
    centroid_ids := array(select distinct probed from unnest(centroid_ids) as probed);
    return array(
        select candidate.passage_id
        from unnest(chosen) with ordinality as candidate (passage_id, place)
        left join pgretrieval.score_roughly(held, chosen, query, centroid_ids, floors) as approximate using (passage_id)
        order by approximate.score desc nulls last, candidate.place
        limit pruning
    );
end
$function$;
