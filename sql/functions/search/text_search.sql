-- Returns the k best passages for the words of a text, best first, by BM25. Passages without any of the words are not returned.
create or replace function pgretrieval.text_search(
    collection text,
    query_text text,
    k integer default 10,
    filter jsonpath default null,
    among text[] default null,
    min_score double precision default null
) returns table (rank integer, id text, score real, title text, body text, metadata jsonb)
language plpgsql stable rows 10
set search_path from current
set plan_cache_mode = force_custom_plan
as $function$
#variable_conflict use_column
declare
    held pgretrieval.collection := pgretrieval.known_collection(text_search.collection);
    chosen integer[];
    scores real[];
begin
    perform pgretrieval.check_search(filter, k);
    perform pgretrieval.check_min_score(min_score);
    select array_agg(passage_id), array_agg(found.score) into chosen, scores
    from pgretrieval.candidates_by_text(held, coalesce(query_text, ''), k, filter, among) as found;
    return query select * from pgretrieval.show(held, chosen, scores, k, min_score);
end
$function$;
