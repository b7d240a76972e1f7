-- Returns the k best passages for a query's token vectors, best first, by the whole pipeline: probe, candidates, exact MaxSim.
--
-- `filter` is a predicate over metadata, `among` restricts to these ids. `probes` is the number of centroids probed per query token,
-- `candidates` the number of passages compared. `reduction` is 'sum' over the query's tokens or 'mean', and hits below `min_score` are left
-- out. `score_kind` in stats() says what scores are computed from. Collections that are scored by retrieved tokens use xtr_search with its
-- defaults.
create or replace function pgretrieval.search(
    collection text,
    query @extschema:vector@.vector[],
    k integer default 10,
    filter jsonpath default null,
    among text[] default null,
    probes integer default null,
    candidates integer default null,
    reduction text default null,
    min_score double precision default null
) returns table (rank integer, id text, score real, title text, body text, metadata jsonb)
language plpgsql stable rows 10
set search_path from current
set plan_cache_mode = force_custom_plan
as $function$
#variable_conflict use_column
declare
    held pgretrieval.collection := pgretrieval.known_collection(search.collection);
    settings record;
    reduced real := 1;
    chosen integer[];
    scores real[];
begin
    perform pgretrieval.check_search(filter, k, probes);
    if held.scorer <> 'maxsim' then
        if candidates is not null then
            raise exception 'candidates is %, and the candidates of collection % are the passages of the retrieved tokens',
                candidates, quote_literal(held.name)
                using errcode = 'PGR05', hint = 'Leave it out, and set probes, or k_tokens of xtr_search.';
        end if;
        return query select * from pgretrieval.xtr_search(
            collection, query, k, filter, among, probes, reduction => reduction, min_score => min_score
        );
        return;
    end if;
    perform pgretrieval.check_min_score(min_score);
    if reduction not in ('mean', 'sum') then
        raise exception 'reduction is %', quote_literal(reduction) using errcode = 'PGR05', hint = 'Choose mean or sum.';
    end if;
    query := pgretrieval.checked_vectors('the query', query, held.dim);
    if reduction = 'mean' then
        reduced := cardinality(query);
    end if;
    select * into strict settings from pgretrieval.plaid_settings(held, k, probes, candidates, cardinality(query));
    chosen := pgretrieval.candidates_in_sql(
        held, query, settings.probes, settings.candidates, settings.pruning, filter, among
    );
    select array_agg(passage_id), array_agg(scored.score / reduced) into chosen, scores
    from pgretrieval.score_passages(held, chosen, query) as scored;
    return query select * from pgretrieval.show(held, chosen, scores, k, min_score);
end
$function$;
