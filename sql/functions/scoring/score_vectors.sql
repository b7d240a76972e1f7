-- Exact MaxSim of some passages over their stored vectors. The statement names every query token, so that one pass over a passage's
-- tokens keeps the best inner product of each.
create or replace function pgretrieval.score_vectors(in_collection integer, passage_ids integer[], query @extschema:vector@.vector[])
returns table (passage_id integer, score real)
language plpgsql stable rows 100
set search_path from current
set plan_cache_mode = force_custom_plan
as $function$
#variable_conflict use_column
declare
    best text := (
        select string_agg(format('min(token.vector operator(@extschema:vector@.<#>) ($2)[%s])', place), ' + ') from generate_subscripts(query, 1) as place
    );
begin
    return query execute format(
        $statement$
        select token_vector.passage_id, (-scored.score)::real
        from pgretrieval.token_vector
        cross join lateral (
            select %s as score
            from (select half::@extschema:vector@.vector as vector from unnest(token_vector.vectors) as half offset 0) as token
        ) as scored
        where token_vector.collection_id = %s and token_vector.passage_id = any($1)
          and token_vector.encoding = (select encoding from pgretrieval.collection where collection_id = %2$s)
          and exists (
              select from pgretrieval.passage
              where passage.collection_id = %2$s and passage.bucket = token_vector.bucket
                and passage.passage_id = token_vector.passage_id
          )
        $statement$,
        best, in_collection
    ) using passage_ids, query;
end
$function$;
