-- Returns the passages that a search in SQL scores exactly: without an index all that match, else n candidates by postings. If codes
-- must be decoded, which is slow, only the `pruning` candidates with the best scores by the tokens of probed centroids are kept; null keeps
-- all. A query token adds at least 0.8 of what it scores with the last centroid that it probes: a passage without any of these has tokens
-- that score nearly as much (docs/design/sql-searches.md).
create or replace function pgretrieval.candidates_in_sql(
    held pgretrieval.collection, query @extschema:vector@.vector[], probes integer, n integer, pruning integer, filter jsonpath, among text[]
) returns integer[]
language plpgsql stable
set search_path from current
set plan_cache_mode = force_custom_plan
as $function$
#variable_conflict use_column
declare
    centroid_ids integer[];
    centroid_scores real[];
    chosen integer[];
    floors real[];
begin
    if held.codebook_id is null then
        return array(
            select passage.passage_id from pgretrieval.passage
            where passage.collection_id = held.collection_id
              and (filter is null or passage.metadata @@ filter)
              and (among is null or passage.key = any(among))
        );
    end if;
    select array_agg(centroid_id), array_agg(probe.score) into centroid_ids, centroid_scores
    from pgretrieval.probe(held.collection_id, held.codebook_id, query, probes);
    chosen := array(
        select candidate.passage_id
        from pgretrieval.candidates_among(
            held.collection_id, held.codebook_id, centroid_ids, centroid_scores, n, filter, among
        ) as candidate
    );
    if held.keep_vectors or cardinality(chosen) <= pruning then
        return chosen;
    end if;
    floors := array(
        with probed as materialized (
            select centroid.vector::@extschema:vector@.vector as vector
            from pgretrieval.centroid
            where centroid.collection_id = held.collection_id and centroid.codebook_id = held.codebook_id
              and centroid.centroid_id = any(centroid_ids)
        )
        select coalesce(0.8 * last.score, 0)
        from unnest(query) with ordinality as token (vector, place)
        left join lateral (
            select -(probed.vector operator(@extschema:vector@.<#>) token.vector) as score
            from probed
            order by score desc
            offset probes - 1 limit 1
        ) as last on true
        order by token.place
    );
    return array(
        select candidate.passage_id
        from unnest(chosen) with ordinality as candidate (passage_id, place)
        left join pgretrieval.score_passages(held, chosen, query, centroid_ids, floors) as approximate using (passage_id)
        order by approximate.score desc nulls last, candidate.place
        limit pruning
    );
end
$function$;
