-- Returns the token vectors that a passage's score by all tokens is computed from, with their places from 1: stored vectors
-- where the collection has them, else what codes decode to, as in score_passages.
create or replace function pgretrieval.passage_vectors(held pgretrieval.collection, in_passage integer)
returns table (place integer, vector @extschema:vector@.vector)
language plpgsql stable rows 200
set search_path from current
set plan_cache_mode = force_custom_plan
as $function$
#variable_conflict use_column
declare
    decoder record;
begin
    if held.keep_vectors or held.codebook_id is null then
        return query
        select token.place::integer, token.half::@extschema:vector@.vector
        from pgretrieval.token_vector
        cross join lateral unnest(token_vector.vectors) with ordinality as token (half, place)
        where token_vector.collection_id = held.collection_id and token_vector.passage_id = in_passage
          and token_vector.encoding = held.encoding;
        return;
    end if;
    select * into strict decoder from pgretrieval.decoder(held.codebook_id);
    return query execute format(
        $statement$
        select token.place, %1$s(centroid.vector::@extschema:vector@.vector operator(@extschema:vector@.+) %2$s)
        from (
            select token.place, substr(coded.residuals, 1 + %3$s * (token.place - 1), %3$s) as packed,
                   pgretrieval.centroid_at(coded.centroid_ids, token.place - 1, %4$s) as centroid_id
            from (
                select token_code.residuals || token_code.tail as residuals, token_code.centroid_ids
                from pgretrieval.token_code
                where token_code.collection_id = $1 and token_code.codebook_id = $2 and token_code.passage_id = $4
            ) as coded
            cross join lateral generate_series(1, length(coded.centroid_ids) / %4$s) as token (place)
            offset 0
        ) as token
        join pgretrieval.centroid
            on centroid.collection_id = $1 and centroid.codebook_id = $2 and centroid.centroid_id = token.centroid_id
        $statement$,
        case when held.unit_vectors then '@extschema:vector@.l2_normalize' end, decoder.residual, decoder.width, decoder.id_bytes
    ) using held.collection_id, held.codebook_id, decoder.levels, in_passage;
end
$function$;
