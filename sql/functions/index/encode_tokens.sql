-- Returns the codes of vectors in the form of token_code: the numbers of the nearest centroids, and packed residuals (ColBERTv2, section
-- 3.3).
--
-- The nearest centroid has the highest inner product with a unit vector, the first of equal ones. One pass over the centroids finds
-- those of all vectors: the statement names every vector, and the aggregate carries the centroid's number in the low bits of the
-- distance (2^20 centroids, distances told apart by 2^-31). A vector that keeps its length gets the centroid at the least distance, by
-- one scan of all for each vector.
--
-- In each dimension of a residual the cut-offs below it are counted. binary_quantize against a cut-off compares all dimensions at once;
-- bit m of the counts is the exclusive or of the comparisons with every 2^m-th cut-off; then the bits of one dimension are put beside
-- each other (docs/design/bytes.md has the order).
create or replace function pgretrieval.encode_tokens(in_collection integer, in_codebook integer, vectors @extschema:vector@.vector[])
returns table (centroid_ids bytea, residuals bytea)
language plpgsql stable
set search_path from current
set plan_cache_mode = force_custom_plan
as $function$
#variable_conflict use_column
declare
    codebook pgretrieval.codebook;
    cutoffs @extschema:vector@.vector[];
    comparisons text;
    packed text;
    nearest text;
begin
    select * into strict codebook from pgretrieval.codebook c where c.codebook_id = in_codebook;
    cutoffs := array(
        select array_fill(cutoff, array[codebook.dim])::@extschema:vector@.vector from unnest(codebook.cutoffs) with ordinality as level (cutoff, place)
        order by place
    );
    comparisons := (
        select string_agg(format('@extschema:vector@.binary_quantize(coded.residual operator(@extschema:vector@.-) ($2)[%s]) as above_%1$s', place), ', ')
        from generate_subscripts(cutoffs, 1) as place
    );
    packed := (
        select string_agg(
            format('replace(replace((%s)::text, ''0'', %L), ''1'', %L)::varbit', digit.plane, repeat('0', codebook.bits),
                   repeat('0', codebook.bits - 1 - digit.m) || '1' || repeat('0', digit.m)),
            ' | '
        )
        from (
            select m, string_agg('compared.above_' || place, ' # ' order by place) as plane
            from generate_series(0, codebook.bits - 1) as m
            join generate_subscripts(cutoffs, 1) as place on place % (1 << m) = 0
            group by m
        ) as digit
    );
    if (select unit_vectors from pgretrieval.collection where collection_id = in_collection) then
        nearest := format(
            $nearest$
            select found.place, mod(found.key::bigint, 1048576)::integer as centroid_id
            from (
                select array[%s] as keys
                from (
                    select vector::@extschema:vector@.vector as vector, centroid_id::double precision as number
                    from pgretrieval.centroid where collection_id = %s and codebook_id = %s
                    offset 0
                ) as centroid
            ) as all_keys
            cross join lateral unnest(keys) with ordinality as found (key, place)
            $nearest$,
            (select string_agg(format('min(floor(((centroid.vector operator(@extschema:vector@.<#>) ($1)[%s]) + 2) * 2147483648) * 1048576 + centroid.number)', n), ', ')
             from generate_subscripts(vectors, 1) as n),
            in_collection, in_codebook
        );
    else
        nearest := format(
            $nearest$
            select given.place, closest.centroid_id
            from unnest($1) with ordinality as given (vector, place)
            cross join lateral (
                select centroid.centroid_id
                from pgretrieval.centroid
                where centroid.collection_id = %s and centroid.codebook_id = %s
                order by centroid.vector::@extschema:vector@.vector operator(@extschema:vector@.<->) given.vector, centroid.centroid_id
                limit 1
            ) as closest
            $nearest$,
            in_collection, in_codebook
        );
    end if;
    return query execute format(
        $statement$
        select string_agg(%6$s, '' order by place),
               string_agg(substr(varbit_send(%1$s), 5), '' order by place)
        from (
            select coded.place, int4send(coded.centroid_id) as number, %2$s
            from (
                select nearest.place, nearest.centroid_id, ($1)[nearest.place::integer] operator(@extschema:vector@.-) centroid.vector::@extschema:vector@.vector as residual
                from (%5$s) as nearest
                join pgretrieval.centroid
                    on centroid.collection_id = %3$s and centroid.codebook_id = %4$s
                    and centroid.centroid_id = nearest.centroid_id
                offset 0
            ) as coded
            offset 0
        ) as compared
        $statement$,
        packed, comparisons, in_collection, in_codebook, nearest,
        (select string_agg(format('substr(number, %s, 1)', byte), ' || ' order by byte desc) from generate_series(5 - codebook.id_bytes, 4) as byte)
    ) using vectors, cutoffs;
end
$function$;
