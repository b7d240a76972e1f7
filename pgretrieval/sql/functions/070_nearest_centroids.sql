-- The centroid with the highest inner product for each vector, in order; of equal ones the first. One pass over the centroids: the
-- statement names every vector, and the aggregate carries the centroid's number in the low bits of the distance (2^20 centroids,
-- distances told apart by 2^-31).
create or replace function pgretrieval.nearest_centroids(in_collection integer, in_codebook integer, vectors vector[])
returns table (place integer, centroid_id integer)
language plpgsql stable rows 100
set search_path from current
as $function$
#variable_conflict use_column
declare
    nearest text := (
        select string_agg(format('min(floor(((centroid.vector <#> ($1)[%s]) + 2) * 2147483648) * 1048576 + centroid.number)', n), ', ')
        from generate_subscripts(vectors, 1) as n
    );
begin
    return query execute format(
        $statement$
        select found.place::integer, mod(found.key::bigint, 1048576)::integer
        from (
            select array[%s] as keys
            from (
                select vector::vector as vector, centroid_id::double precision as number
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
