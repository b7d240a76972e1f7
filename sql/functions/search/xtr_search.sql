-- Returns the k best passages for a query's token vectors by their retrieved tokens alone, in a collection that is scored so.
--
-- `probes` is the number of centroids probed per query token, `k_tokens` the number of tokens that each retrieves. Where a query token
-- retrieved nothing of a passage, the passage scores what `imputation` says: 'kth', the last retrieved score; 'warp', the score of the
-- centroid up to which the best hold more than sqrt(8 * tokens) tokens; 'zero'; or a number. `reduction` is 'mean' over the query's
-- tokens or 'sum'. `rerank` is 'maxsim', if the collection was created with it, for exact scores of the best, or 'none'. What is not
-- given is the preset's, or the default: 'kth', and the mean for 'xtr'.
create or replace function pgretrieval.xtr_search(
    collection text,
    query @extschema:vector@.vector[],
    k integer default 10,
    filter jsonpath default null,
    among text[] default null,
    probes integer default null,
    k_tokens integer default null,
    imputation text default null,
    reduction text default null,
    rerank text default null,
    min_score double precision default null
) returns table (rank integer, id text, score real, title text, body text, metadata jsonb)
language plpgsql stable rows 10
set search_path from current
set plan_cache_mode = force_custom_plan
as $function$
#variable_conflict use_column
declare
    held pgretrieval.collection := pgretrieval.known_collection(xtr_search.collection);
    preset jsonb := pgretrieval.preset_options(held, k);
    reduced real := 1;
    chosen integer[];
    scores real[];
begin
    perform pgretrieval.check_search(filter, k, probes);
    perform pgretrieval.check_min_score(min_score);
    if held.scorer = 'maxsim' then
        raise exception 'collection % is scored by all tokens of a passage', quote_literal(held.name)
            using errcode = 'PGR05', hint = 'Use pgretrieval.search, or create a collection with scorer => ''xtr'' or ''colxtr''.';
    end if;
    probes := coalesce(probes, (preset ->> 'probes')::integer);
    k_tokens := coalesce(k_tokens, (preset ->> 'k_tokens')::integer);
    imputation := coalesce(imputation, preset ->> 'imputation', 'kth');
    reduction := coalesce(reduction, preset ->> 'reduction', case held.scorer when 'colxtr' then 'sum' else 'mean' end);
    rerank := coalesce(rerank, held.rerank, 'none');
    if reduction not in ('mean', 'sum') then
        raise exception 'reduction is %', quote_literal(reduction) using errcode = 'PGR05', hint = 'Choose mean or sum.';
    end if;
    if rerank not in ('none', 'maxsim') then
        raise exception 'rerank is %', quote_literal(rerank) using errcode = 'PGR05', hint = 'Choose none or maxsim.';
    end if;
    if rerank = 'maxsim' and held.rerank is null then
        raise exception 'rerank is maxsim, but the collection stores no codes by passage'
            using errcode = 'PGR05', hint = 'Leave rerank out, or create a collection with rerank => ''maxsim''.';
    end if;
    if k_tokens not between 1 and 100000000 then
        raise exception 'k_tokens is %', k_tokens using errcode = 'PGR05', hint = 'Give a whole number from 1 to 100,000,000.';
    end if;
    if imputation !~ '^(kth|warp|zero|[+-]?[0-9]{1,9}(\.[0-9]{1,9})?)$' then
        raise exception 'imputation is %', quote_literal(imputation)
            using errcode = 'PGR05', hint = 'Give kth, warp, zero, or a finite number.';
    end if;
    query := pgretrieval.checked_vectors('the query', query, held.dim);
    if reduction = 'mean' then
        reduced := cardinality(query);
    end if;
    if held.codebook_id is null then
        chosen := pgretrieval.candidates_in_sql(held, query, null, null, null, filter, among);  -- all that match
    else
        select array_agg(found.passage_id), array_agg(found.score / reduced) into chosen, scores
        from pgretrieval.retrieved_passages(held, query, k, probes, k_tokens, imputation, filter, among, null) as found
        where found.passage_id is not null;
    end if;
    if held.codebook_id is null or rerank = 'maxsim' then
        chosen := array(
            select best.passage_id from unnest(chosen, scores) as best (passage_id, score)
            order by best.score desc, best.passage_id
            limit case when held.codebook_id is not null then greatest(128, 5 * k) end
        );
        select array_agg(exact.passage_id), array_agg(exact.score / reduced) into chosen, scores
        from pgretrieval.score_passages(held, chosen, query) as exact;
    end if;
    return query select * from pgretrieval.show(held, chosen, scores, k, min_score);
end
$function$;
