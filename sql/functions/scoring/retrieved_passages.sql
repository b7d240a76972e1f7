-- Calls score_tokens with its defaults. If `probes` is null, each query token probes enough centroids to see four tokens for each that
-- it retrieves, of passages that match: if it sees fewer, it probes more, in the end all. At least k passages are returned if so many
-- match: until then twice as many centroids are probed and twice as many tokens retrieved, in the end all. If a passage is `explained`, the
-- only row has its tokens' scores and positions, and imputed scores.
create or replace function pgretrieval.retrieved_passages(
    held pgretrieval.collection, query @extschema:vector@.vector[], k integer, probes integer, k_tokens integer, imputation text,
    filter jsonpath, among text[], explained integer
) returns table (passage_id integer, score real, token_scores real[], token_positions integer[], imputed_scores real[])
language plpgsql stable rows 1000
set search_path from current
set plan_cache_mode = force_custom_plan
as $function$
#variable_conflict use_column
declare
    centroids integer := (select c.centroid_count from pgretrieval.codebook c where c.codebook_id = held.codebook_id);
    all_tokens constant integer := 2147483647;
    enough constant real := 0.75;  -- of the tokens to be seen; a few that were deleted since are not worth another look
    wanted integer;
    tokens_wanted bigint;
    widths integer[];
    wider integer[];
    tokens_seen bigint[];
    found_passages integer[];
    found_scores real[];
begin
    k_tokens := coalesce(k_tokens, 300);
    if probes is null then
        tokens_wanted := 4 * k_tokens::bigint;
        widths := pgretrieval.probes_for(held, query, tokens_wanted);
    else
        tokens_wanted := 0;
        widths := array_fill(least(probes, centroids), array[cardinality(query)]);
    end if;
    loop
        select array_agg(scored.passage_id), array_agg(scored.score), max(scored.seen),
               max(scored.token_scores), max(scored.token_positions), max(scored.imputed_scores)
        into found_passages, found_scores, tokens_seen, token_scores, token_positions, imputed_scores
        from pgretrieval.score_tokens(held, query, widths, k_tokens, imputation, filter, among, explained) as scored;
        wider := array(
            select case when token.seen >= enough * tokens_wanted then token.width
                        else least(greatest(2 * token.width, token.width * tokens_wanted / greatest(token.seen, 1)), centroids)
                   end
            from unnest(widths, tokens_seen) with ordinality as token (width, seen, place)
            order by token.place
        );
        if wider = widths then
            exit when cardinality(found_passages) > k or k_tokens = all_tokens and centroids <= all (widths);
            wanted := coalesce(wanted, (
                select count(*)
                from (
                    select 1 from pgretrieval.passage
                    where passage.collection_id = held.collection_id
                      and (filter is null or passage.metadata @@ filter) and (among is null or passage.key = any(among))
                    limit k
                ) as matched
            ));
            exit when cardinality(found_passages) > wanted;
            wider := array(
                select least(2 * token.width::bigint, centroids)
                from unnest(widths) with ordinality as token (width, place)
                order by token.place
            );
            k_tokens := case when centroids <= all (wider) then all_tokens else least(2::bigint * k_tokens, all_tokens) end;
            tokens_wanted := case when tokens_wanted > 0 then 4 * k_tokens::bigint else 0 end;
        end if;
        widths := wider;
    end loop;
    if explained is not null then
        return query select explained, null::real, token_scores, token_positions, imputed_scores;
        return;
    end if;
    return query
    select found.passage_id, found.score, null::real[], null::integer[], null::real[]
    from unnest(found_passages, found_scores) as found (passage_id, score);
end
$function$;
