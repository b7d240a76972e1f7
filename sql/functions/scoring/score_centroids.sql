-- Returns MaxSim of some passages with every token replaced by its centroid, and negative similarities counted as 0 (PLAID, section
-- 4.2), to select the passages to decode. The statement names every query token; each centroid is compared with them once.
create or replace function pgretrieval.score_centroids(in_collection integer, in_codebook integer, passage_ids integer[], query @extschema:vector@.vector[])
returns table (passage_id integer, score real)
language plpgsql stable rows 500
set search_path from current
set plan_cache_mode = force_custom_plan
as $function$
#variable_conflict use_column
declare
    similarities text;
    best text;
begin
    select string_agg(format('centroid.vector operator(@extschema:vector@.<#>) ($2)[%s] as s%1$s', place), ', '),
           string_agg(format('least(min(similarity.s%s), 0)', place), ' + ')
    into similarities, best
    from generate_subscripts(query, 1) as place;
    return query execute format(
        $statement$
        select token.passage_id, (-(%1$s))::real
        from (
            select token_code.passage_id, pgretrieval.centroid_at(token_code.centroid_ids, place) as centroid_id
            from pgretrieval.token_code
            cross join lateral generate_series(0, length(token_code.centroid_ids) / 4 - 1) as place
            where token_code.collection_id = %3$s and token_code.codebook_id = %4$s and token_code.passage_id = any($1)
              and exists (
                  select from pgretrieval.passage
                  where passage.collection_id = %3$s and passage.bucket = token_code.bucket
                    and passage.passage_id = token_code.passage_id
              )
            offset 0
        ) as token
        join (
            select centroid.centroid_id, %2$s
            from (
                select centroid_id, vector::@extschema:vector@.vector as vector
                from pgretrieval.centroid where collection_id = %3$s and codebook_id = %4$s
                offset 0
            ) as centroid
        ) as similarity using (centroid_id)
        group by token.passage_id
        $statement$,
        best, similarities, in_collection, in_codebook
    ) using passage_ids, query;
end
$function$;
