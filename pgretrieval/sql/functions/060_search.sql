-- The k best passages for a query's token vectors, best first, by the whole pipeline: probe, candidates, exact MaxSim.
--
-- `filter` is a predicate over the passages' metadata, `among` restricts to these ids. `probes` is how many centroids are looked up
-- for each token, `candidates` how many passages are compared. `score_kind` in stats() tells what the scores are of.
create or replace function pgretrieval.search(
    collection text,
    query vector[],
    k integer default 10,
    filter jsonpath default null,
    among text[] default null,
    probes integer default null,
    candidates integer default null
) returns table (rank integer, id text, score real, title text, body text, metadata jsonb)
language plpgsql stable rows 10
set search_path from current
as $function$
#variable_conflict use_column
declare
    held pgretrieval.collection := pgretrieval.known_collection(search.collection);
    chosen integer[];
begin
    query := pgretrieval.checked_vectors('the query', query, held.dim);
    candidates := pgretrieval.depth_of_candidates(held, k, probes, candidates);
    chosen := array(
        select pgretrieval.candidates_in_sql(held, query, coalesce(probes, 8), candidates, filter, among)
    );
    return query
    select row_number() over (order by best.score desc, best.passage_id)::integer,
           passage.key, best.score, passage.title, passage.body, passage.metadata
    from (
        select scored.passage_id, scored.score
        from pgretrieval.score_passages(held, chosen, query, k) as scored
        order by scored.score desc, scored.passage_id
        limit k
    ) as best
    join pgretrieval.passage on passage.collection_id = held.collection_id and passage.passage_id = best.passage_id
    order by best.score desc, best.passage_id;
end
$function$;
