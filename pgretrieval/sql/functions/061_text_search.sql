-- The k best passages for the words of a text, best first, by BM25. Passages that hold none of the words do not come.
create or replace function pgretrieval.text_search(
    collection text,
    query_text text,
    k integer default 10,
    filter jsonpath default null,
    among text[] default null
) returns table (rank integer, id text, score real, title text, body text, metadata jsonb)
language plpgsql stable rows 10
set search_path from current
as $function$
#variable_conflict use_column
declare
    held pgretrieval.collection := pgretrieval.known_collection(text_search.collection);
begin
    perform pgretrieval.check_depth(k);
    return query
    select row_number() over (order by best.score desc, best.passage_id)::integer,
           passage.key, best.score, passage.title, passage.body, passage.metadata
    from pgretrieval.candidates_by_text(held, coalesce(query_text, ''), k, filter, among) as best
    join pgretrieval.passage on passage.collection_id = held.collection_id and passage.passage_id = best.passage_id
    order by best.score desc, best.passage_id;
end
$function$;
