-- Returns exact MaxSim of some passages: over stored vectors where the collection has them, else over what their codes decode to, scaled
-- to unit length where the collection's vectors are. None for null.
--
-- The statement names every query token, so that one pass over a passage's tokens keeps the best inner product of each. For codes it also
-- names every dimension (pgretrieval.decoder).
create or replace function pgretrieval.score_passages(
    held pgretrieval.collection, passage_ids integer[], query @extschema:vector@.vector[]
)
returns table (passage_id integer, score real)
language plpgsql stable rows 100
set search_path from current
set plan_cache_mode = force_custom_plan
as $function$
#variable_conflict use_column
declare
    decoder record;
    best text := (
        select string_agg(format('min(token.vector operator(@extschema:vector@.<#>) ($2)[%s])', place), ' + ')
        from generate_subscripts(query, 1) as place
    );
begin
    if query is null then
        return;
    elsif held.keep_vectors or held.codebook_id is null then
        return query execute format(
            $statement$
            select token_vector.passage_id, (-scored.score)::real
            from pgretrieval.token_vector
            cross join lateral (
                select %1$s as score
                from (select half::@extschema:vector@.vector as vector from unnest(token_vector.vectors) as half offset 0) as token
            ) as scored
            where token_vector.collection_id = %2$s and token_vector.passage_id = any($1) and token_vector.encoding = %3$s
              and exists (
                  select from pgretrieval.passage
                  where passage.collection_id = %2$s and passage.bucket = token_vector.bucket
                    and passage.passage_id = token_vector.passage_id
              )
            $statement$,
            best, held.collection_id, held.encoding
        ) using passage_ids, query;
        return;
    end if;
    select * into strict decoder from pgretrieval.decoder(held.codebook_id);
    return query execute format(
        $statement$
        select token.passage_id, (-(%1$s))::real
        from (
            select coded.bucket, coded.passage_id, %6$s(centroid.vector::@extschema:vector@.vector operator(@extschema:vector@.+) %2$s) as vector
            from (
                select token_code.bucket, token_code.passage_id,
                       token_code.residuals || token_code.tail as residuals,
                       substr(token_code.centroid_ids, 1) as centroid_ids
                from pgretrieval.token_code
                where token_code.collection_id = %3$s and token_code.codebook_id = %4$s and token_code.passage_id = any($1)
                  and exists (
                      select from pgretrieval.passage
                      where passage.collection_id = %3$s and passage.bucket = token_code.bucket
                        and passage.passage_id = token_code.passage_id
                  )
                offset 0
            ) as coded
            cross join lateral (
                select substr(coded.residuals, 1 + %5$s * place, %5$s) as packed,
                       pgretrieval.centroid_at(coded.centroid_ids, place, %7$s) as centroid_id
                from generate_series(0, length(coded.centroid_ids) / %7$s - 1) as place
                offset 0
            ) as token
            join pgretrieval.centroid
                on centroid.collection_id = %3$s and centroid.codebook_id = %4$s and centroid.centroid_id = token.centroid_id
            offset 0
        ) as token (bucket, passage_id, vector)
        group by token.passage_id, token.bucket
        $statement$,
        best, decoder.residual, held.collection_id, held.codebook_id, decoder.width,
        case when held.unit_vectors then '@extschema:vector@.l2_normalize' end, decoder.id_bytes
    ) using passage_ids, query, decoder.levels;
end
$function$;
