-- The centroid with the highest inner product for each unit vector, in order; of equal ones the first. One pass over the centroids: the
-- statement names every vector, and the aggregate carries the centroid's number in the low bits of the distance (2^20 centroids,
-- distances told apart by 2^-31). Vectors that keep their lengths get the centroid at the least distance, one look at all for each.
create or replace function pgretrieval.nearest_centroids(in_collection integer, in_codebook integer, vectors @extschema:vector@.vector[])
returns table (place integer, centroid_id integer)
language plpgsql stable rows 100
set search_path from current
set plan_cache_mode = force_custom_plan
as $function$
#variable_conflict use_column
declare
    nearest text := (
        select string_agg(format('min(floor(((centroid.vector operator(@extschema:vector@.<#>) ($1)[%s]) + 2) * 2147483648) * 1048576 + centroid.number)', n), ', ')
        from generate_subscripts(vectors, 1) as n
    );
begin
    if not (select unit_vectors from pgretrieval.collection where collection_id = in_collection) then
        return query
        select given.place::integer, nearest.centroid_id
        from unnest(vectors) with ordinality as given (vector, place)
        cross join lateral (
            select centroid.centroid_id
            from pgretrieval.centroid
            where centroid.collection_id = in_collection and centroid.codebook_id = in_codebook
            order by centroid.vector::@extschema:vector@.vector operator(@extschema:vector@.<->) given.vector, centroid.centroid_id
            limit 1
        ) as nearest;
        return;
    end if;
    return query execute format(
        $statement$
        select found.place::integer, mod(found.key::bigint, 1048576)::integer
        from (
            select array[%s] as keys
            from (
                select vector::@extschema:vector@.vector as vector, centroid_id::double precision as number
                from pgretrieval.centroid where collection_id = %s and codebook_id = %s
                offset 0
            ) as centroid
        ) as all_keys
        cross join lateral unnest(keys) with ordinality as found (key, place)
        $statement$,
        nearest, in_collection, in_codebook
    ) using vectors;
end
$function$;
