-- The k best passages by late interaction and by words together, best first. Both generate candidates, MaxSim ranks all of these, and
-- the two rankings are fused by reciprocal rank (Cormack, Clarke and Buettcher 2009): the score of a passage is the sum of weight /
-- (rank_constant + rank) over the rankings that have it. `weights` are those of late interaction and of words.
create or replace function pgretrieval.hybrid_search(
    collection text,
    query vector[],
    query_text text,
    k integer default 10,
    filter jsonpath default null,
    among text[] default null,
    rank_constant integer default 60,
    weights real[] default '{1,1}',
    probes integer default null,
    candidates integer default null
) returns table (rank integer, id text, score real, title text, body text, metadata jsonb)
language plpgsql stable rows 10
set search_path from current
as $function$
#variable_conflict use_column
declare
    held pgretrieval.collection := pgretrieval.known_collection(hybrid_search.collection);
    by_words integer[];
    chosen integer[];
begin
    query := pgretrieval.checked_vectors('the query', query, held.dim);
    candidates := pgretrieval.depth_of_candidates(held, k, probes, candidates);
    if cardinality(weights) is distinct from 2 or rank_constant is null or rank_constant < 0 then
        raise exception 'weights are %, rank_constant is %', weights, rank_constant
            using errcode = 'PGR05', hint = 'Give two weights, of late interaction and of words, and a constant of at least 0.';
    end if;
    by_words := array(
        select passage_id from pgretrieval.candidates_by_text(held, coalesce(query_text, ''), candidates, filter, among)
        order by score desc, passage_id
    );
    chosen := array(
        select pgretrieval.candidates_in_sql(held, query, coalesce(probes, 8), candidates, filter, among)
        union
        select unnest(by_words)
    );
    return query
    select row_number() over (order by best.score desc, best.passage_id)::integer,
           passage.key, best.score, passage.title, passage.body, passage.metadata
    from (
        select fused.passage_id,
               (coalesce(weights[1] / (rank_constant + fused.late), 0) + coalesce(weights[2] / (rank_constant + fused.word), 0))::real
                   as score
        from (
            select coalesce(late.passage_id, words.passage_id) as passage_id, late.place as late, words.place as word
            from (
                select scored.passage_id, row_number() over (order by scored.score desc, scored.passage_id) as place
                from pgretrieval.score_passages(held, chosen, query, k) as scored
            ) as late
            full join unnest(by_words) with ordinality as words (passage_id, place) on words.passage_id = late.passage_id
        ) as fused
        order by score desc, fused.passage_id
        limit k
    ) as best
    join pgretrieval.passage on passage.collection_id = held.collection_id and passage.passage_id = best.passage_id
    order by best.score desc, best.passage_id;
end
$function$;
