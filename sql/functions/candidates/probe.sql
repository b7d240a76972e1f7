-- Returns the centroids that each query token probes: its best `probes` by the vector index, with what they score over the token's floor,
-- at least 0. The floor is 0.8 of what the last of them scores, as if every passage had a token nearly as good as that; 0 if the token
-- probes all centroids.
create or replace function pgretrieval.probe(in_collection integer, in_codebook integer, query @extschema:vector@.vector[], probes integer)
returns table (token integer, centroid_id integer, score real, floor real)
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
        select listed.token, listed.centroid_id, greatest(listed.score - listed.floor, 0)::real, listed.floor::real
        from (
            select asked.place::integer as token, nearest.centroid_id, nearest.score,
                   0.8 * greatest(
                       coalesce(nth_value(nearest.score, $2) over (
                           partition by asked.place order by nearest.score desc rows between unbounded preceding and unbounded following
                       ), 0),
                       0
                   ) as floor
            from unnest($1) with ordinality as asked (vector, place)
            cross join lateral (
                select centroid.centroid_id, -(centroid.vector::@extschema:vector@.halfvec(%1$s) operator(@extschema:vector@.<#>) asked.vector::@extschema:vector@.halfvec(%1$s)) as score
                from pgretrieval.centroid
                where centroid.collection_id = %2$s and centroid.codebook_id = %3$s
                order by centroid.vector::@extschema:vector@.halfvec(%1$s) operator(@extschema:vector@.<#>) asked.vector::@extschema:vector@.halfvec(%1$s)
                limit $2
            ) as nearest
        ) as listed
        $statement$,
        @extschema:vector@.vector_dims(query[array_lower(query, 1)]), in_collection, in_codebook
    ) using query, probes;
end
$function$;
