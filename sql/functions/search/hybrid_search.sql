-- Returns the k best passages by late interaction, words and dense vectors combined, best first; a null argument leaves its kind out.
-- Each kind gives candidates, which get the scores of all kinds, and these are fused: `fusion` is 'score' for the weighted sum of scores
-- with mean 0 and variance 1 over the candidates, each weighing more where its best score stands out (with the encoder MiniLM), or 'rank'
-- for the sum of weight / (rank_constant + rank) (reciprocal ranks; Cormack, Clarke and Buettcher 2009). `weights` are those of late
-- interaction, words and dense vectors.
create or replace function pgretrieval.hybrid_search(
    collection text,
    query @extschema:vector@.vector[],
    query_text text,
    k integer default 10,
    filter jsonpath default null,
    query_dense @extschema:vector@.vector default null,
    among text[] default null,
    fusion text default 'score',
    weights double precision[] default '{1,0.3,0.3}',
    rank_constant integer default 60,
    probes integer default null,
    candidates integer default null,
    min_score double precision default null
) returns table (rank integer, id text, score real, title text, body text, metadata jsonb)
language plpgsql stable rows 10
set search_path from current
set plan_cache_mode = force_custom_plan
as $function$
#variable_conflict use_column
declare
    held pgretrieval.collection := pgretrieval.known_collection(hybrid_search.collection);
    settings record;
    by_words integer[];
    word_scores real[];
    by_dense integer[];
    chosen integer[];
    late_passages integer[];
    late_scores real[];
    preset jsonb := pgretrieval.preset_options(held, k);
    of_tokens boolean := held.scorer <> 'maxsim' and held.codebook_id is not null;
    scores real[];
    least_words double precision := 0;  -- of passages that are not among the first thousand
    power_of integer := case when held.encoder ->> 'kind' = 'minilm' then 3 else 0 end;  -- the shares of other encoders are others
begin
    perform pgretrieval.check_search(filter, k, probes);
    perform pgretrieval.check_min_score(min_score);
    if fusion is null or fusion not in ('score', 'rank') then
        raise exception 'fusion is %', coalesce(quote_literal(fusion), 'null')
            using errcode = 'PGR05', hint = 'Choose score or rank.';
    end if;
    if cardinality(weights) is distinct from 3
       or exists (select from unnest(weights) as weight where (abs(weight) <= 1e9) is not true) then
        raise exception 'weights are %', coalesce(weights::text, 'null') using errcode = 'PGR05',
            hint = 'Give three numbers, the weights of late interaction, words and dense vectors, from -1e9 to 1e9.';
    end if;
    if rank_constant is null or rank_constant < 0 then
        raise exception 'rank_constant is %', coalesce(rank_constant::text, 'null')
            using errcode = 'PGR05', hint = 'Give a whole number of at least 0.';
    end if;
    select * into strict settings from pgretrieval.plaid_settings(held, k, probes, candidates, cardinality(query));
    candidates := settings.candidates;
    if query_text is not null then
        select array_agg(passage_id order by found.score desc, passage_id), array_agg(found.score order by found.score desc, passage_id)
        into by_words, word_scores
        from pgretrieval.candidates_by_text(held, query_text, greatest(candidates, 1000), filter, among) as found;
        if cardinality(by_words) = greatest(candidates, 1000) then
            least_words := word_scores[cardinality(by_words)];
        end if;
    end if;
    if query_dense is not null then
        query_dense := pgretrieval.checked_dense(held, 'the query', query_dense);
        by_dense := array(
            select passage_id from pgretrieval.candidates_by_dense(held, query_dense, greatest(64, 5 * k), filter, among, null, false)
        );
    end if;
    if query is not null then
        query := pgretrieval.checked_vectors('the query', query, held.dim);
        if of_tokens then
            select array_agg(found.passage_id), array_agg(found.score) into late_passages, late_scores
            from pgretrieval.retrieved_passages(
                held, query, k, coalesce(probes, (preset ->> 'probes')::integer), (preset ->> 'k_tokens')::integer, 'kth', filter, among,
                null
            ) as found;
            chosen := array(
                select found.passage_id from unnest(late_passages, late_scores) as found (passage_id, score)
                where found.passage_id is not null
                order by found.score desc, found.passage_id limit greatest(128, 5 * k)
            );
        else
            chosen := pgretrieval.candidates_in_sql(
                held, query, settings.probes, candidates, greatest(settings.pruning, 64, 5 * k), filter, among
            );
        end if;
    end if;
    chosen := array(
        select unnest(chosen)
        union select unnest(by_words[:greatest(64, 5 * k)])
        union select unnest(by_dense)
    );
    if not of_tokens or held.rerank = 'maxsim' then
        select array_agg(exact.passage_id), array_agg(exact.score) into late_passages, late_scores
        from pgretrieval.score_passages(held, chosen, query) as exact;
    elsif query is not null then
        select array_agg(picked.passage_id), array_agg(coalesce(found.score, late_scores[array_position(late_passages, null)]))
        into late_passages, late_scores
        from unnest(chosen) as picked (passage_id)
        left join unnest(late_passages, late_scores) as found (passage_id, score) using (passage_id);
    end if;
    select array_agg(fused.passage_id), array_agg(fused.score::real) into chosen, scores
    from (
        select passage_id,
               case when fusion = 'rank' then
                   coalesce(weights[1] / (rank_constant + row_number() over (order by late desc nulls last, passage_id)), 0)
                       * (late is not null)::integer
                   + coalesce(weights[2] / (rank_constant + row_number() over (order by words desc nulls last, passage_id)), 0)
                       * (words is not null)::integer
                   + coalesce(weights[3] / (rank_constant + row_number() over (order by dense desc nulls last, passage_id)), 0)
                       * (dense is not null)::integer
               else
                   coalesce(weights[1] * (late - avg(late) over ()) / nullif(stddev_pop(late) over (), 0)
                            * power(least((max(late) over () - avg(late) over ()) / nullif(abs(max(late) over ()), 0), 1) / 0.35, power_of), 0)
                   + coalesce(weights[2] * (words_or_least - avg(words_or_least) over ()) / nullif(stddev_pop(words_or_least) over (), 0)
                              * power(least((max(words_or_least) over () - avg(words_or_least) over ())
                                            / nullif(abs(max(words_or_least) over ()), 0), 1) / 0.75, power_of), 0)
                   + coalesce(weights[3] * (dense - avg(dense) over ()) / nullif(stddev_pop(dense) over (), 0)
                              * power(least((max(dense) over () - avg(dense) over ()) / nullif(abs(max(dense) over ()), 0), 1) / 0.47, power_of), 0)
               end as score
        from (
            select picked.passage_id, late.score::double precision as late, words.score::double precision as words,
                   coalesce(words.score, least_words)::double precision as words_or_least, dense.score::double precision as dense
            from unnest(chosen) as picked (passage_id)
            left join unnest(late_passages, late_scores) as late (passage_id, score) using (passage_id)
            left join unnest(by_words, word_scores) as words (passage_id, score) using (passage_id)
            left join pgretrieval.candidates_by_dense(held, query_dense, null, null, null, chosen, false) as dense using (passage_id)
        ) as scored
    ) as fused;
    return query select * from pgretrieval.show(held, chosen, scores, k, min_score);
end
$function$;
