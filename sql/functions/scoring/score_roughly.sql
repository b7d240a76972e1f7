-- Returns about what passages score by their tokens of some centroids, for a ranking; no query token adds less than its floor.
--
-- A token is not decoded: packed numbers are taken as they are, for weights on a straight line, and vectors are not scaled to unit length
-- (docs/design/sql-searches.md). The bytes of its residual are one vector, and for each number in a byte but the lowest there is another
-- of the bytes without the numbers below, by rounding to multiples: a large enough number is added and taken off again. The query's
-- vectors are arranged so that one product with the centroid and all of these is the score.
create or replace function pgretrieval.score_roughly(
    held pgretrieval.collection, passage_ids integer[], query @extschema:vector@.vector[], centroid_ids integer[], floors real[]
)
returns table (passage_id integer, score real)
language plpgsql stable rows 100
set search_path from current
set plan_cache_mode = force_custom_plan
as $function$
#variable_conflict use_column
declare
    codebook pgretrieval.codebook := (select c from pgretrieval.codebook as c where c.codebook_id = held.codebook_id);
    per_byte integer := 8 / codebook.bits;
    width integer := (codebook.dim + per_byte - 1) / per_byte;
    slope double precision;
    intercept double precision;
    arranged @extschema:vector@.vector[];
    lifts real[];  -- what each query token scores with residuals of zeros
begin
    select regr_slope(level.weight, level.place - 1), regr_intercept(level.weight, level.place - 1) into slope, intercept
    from unnest(codebook.weights) with ordinality as level (weight, place);
    execute (
        select format(
            'select array_agg(token.vector operator(@extschema:vector@.||) array[%s]::@extschema:vector@.vector order by token.place)
             from (
                 select asked.vector, asked.vector::real[] || array_fill(0::real, array[%s]) as numbers, asked.place
                 from unnest($1) with ordinality as asked (vector, place)
                 offset 0
             ) as token',
            string_agg(
                format('token.numbers[%s] * %s::real', per_byte * (byte + 1) - shift, slope / (1 << codebook.bits * shift))
                || case when shift > 0 then
                       format(' - token.numbers[%s] * %s::real', per_byte * (byte + 1) - shift + 1, slope / (1 << codebook.bits * (shift - 1)))
                   else '' end,
                ',' order by shift, byte
            ),
            per_byte
        )
        from generate_series(0, per_byte - 1) as shift
        cross join generate_series(0, width - 1) as byte
    ) into arranged using query;
    lifts := array(
        select intercept * -(token.vector operator(@extschema:vector@.<#>) array_fill(1, array[codebook.dim])::@extschema:vector@.vector)
        from unnest(query) with ordinality as token (vector, place)
        order by token.place
    );
    return query execute format(
        $statement$
        select token.passage_id, (-(%1$s))::real
        from (
            select coded.bucket, coded.passage_id, centroid.vector::@extschema:vector@.vector %2$s as vector
            from (
                select listed.bucket, listed.passage_id, listed.centroid_id,
                       array[%3$s]::@extschema:vector@.vector as bytes
                from (
                    select numbered.bucket, numbered.passage_id, substr(numbered.residuals, 1 + %4$s * numbered.place, %4$s) as packed,
                           numbered.centroid_id
                    from (
                        select placed.bucket, placed.passage_id, placed.residuals, placed.place,
                               pgretrieval.centroid_at(placed.centroid_ids, placed.place, %5$s) as centroid_id
                        from (
                            select coded.bucket, coded.passage_id, coded.residuals, coded.centroid_ids,
                                   generate_series(0, length(coded.centroid_ids) / %5$s - 1) as place
                            from (
                                select token_code.bucket, token_code.passage_id,
                                       token_code.residuals || token_code.tail as residuals,
                                       substr(token_code.centroid_ids, 1) as centroid_ids
                                from pgretrieval.token_code
                                where token_code.collection_id = %6$s and token_code.codebook_id = %7$s
                                  and token_code.passage_id = any($1)
                                offset 0
                            ) as coded
                            offset 0
                        ) as placed
                        offset 0
                    ) as numbered
                    where numbered.centroid_id = any($3)
                    offset 0
                ) as listed
                offset 0
            ) as coded
            join pgretrieval.centroid
                on centroid.collection_id = %6$s and centroid.codebook_id = %7$s and centroid.centroid_id = coded.centroid_id
                and centroid.centroid_id = any($3)
            offset 0
        ) as token
        group by token.passage_id, token.bucket
        $statement$,
        (
            select string_agg(
                format('least(min(token.vector operator(@extschema:vector@.<#>) ($2)[%s]), ($4)[%1$s] - ($5)[%1$s]) - ($4)[%1$s]', place), ' + '
            )
            from generate_subscripts(query, 1) as place
        ),
        (
            select string_agg(
                case when shift = 0 then 'operator(@extschema:vector@.||) coded.bytes'
                else format(
                    'operator(@extschema:vector@.||) (coded.bytes operator(@extschema:vector@.-) array_fill(%s::real, array[%s])::@extschema:vector@.vector '
                    'operator(@extschema:vector@.+) array_fill(%s::real, array[%2$s])::@extschema:vector@.vector '
                    'operator(@extschema:vector@.-) array_fill(%3$s::real, array[%2$s])::@extschema:vector@.vector)',
                    ((1 << codebook.bits * shift) - 1) / 2.0, width, 12582912::bigint << codebook.bits * shift
                ) end,
                ' ' order by shift
            )
            from generate_series(0, per_byte - 1) as shift
        ),
        (select string_agg(format('get_byte(listed.packed, %s)', byte), ',' order by byte) from generate_series(0, width - 1) as byte),
        width, codebook.id_bytes, held.collection_id, held.codebook_id
    ) using passage_ids, arranged, centroid_ids, lifts, floors;
end
$function$;
