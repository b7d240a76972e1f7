-- Returns the centroids that a query probes: for each token the best `probes` by the vector index, weighted by their margin over what a
-- miss would score (docs/design/candidates.md). A centroid that several tokens probe is listed once, with the sum of its weights.
create or replace function pgretrieval.probe(in_collection integer, in_codebook integer, query @extschema:vector@.vector[], probes integer)
returns table (centroid_id integer, score real)
language plpgsql stable
set search_path from current
set plan_cache_mode = force_custom_plan
set hnsw.ef_search = 64
set hnsw.iterative_scan = 'relaxed_order'
as $function$
#variable_conflict use_column
begin
    return query execute format(
        $statement$
        select nearest.centroid_id, sum(greatest(nearest.score - 0.9 * greatest(nearest.missed, 0), 0))::real
        from unnest($1) as token (vector)
        cross join lateral (
            select listed.centroid_id,
                   listed.score,
                   row_number() over (order by listed.score desc) as place,
                   coalesce(nth_value(listed.score, $2 + 1) over (order by listed.score desc
                       rows between unbounded preceding and unbounded following), 0) as missed
            from (
                select centroid.centroid_id, -(centroid.vector::@extschema:vector@.halfvec(%1$s) operator(@extschema:vector@.<#>) token.vector::@extschema:vector@.halfvec(%1$s)) as score
                from pgretrieval.centroid
                where centroid.collection_id = %2$s and centroid.codebook_id = %3$s
                order by centroid.vector::@extschema:vector@.halfvec(%1$s) operator(@extschema:vector@.<#>) token.vector::@extschema:vector@.halfvec(%1$s)
                limit $2 + 1
            ) as listed
        ) as nearest
        where nearest.place <= $2
        group by nearest.centroid_id
        $statement$,
        @extschema:vector@.vector_dims(query[array_lower(query, 1)]), in_collection, in_codebook
    ) using query, probes;
end
$function$;
