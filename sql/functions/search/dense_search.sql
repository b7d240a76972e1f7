-- Returns the k passages whose dense vectors are the most similar to the query's, best first: of vectors that the collection keeps by cosine,
-- of a column of the application by its index's operator (dense_source), which gives the cosine, the inner product, or the negative distance.
create or replace function pgretrieval.dense_search(
    collection text,
    query @extschema:vector@.vector,
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
    held pgretrieval.collection := pgretrieval.known_collection(dense_search.collection);
    chosen integer[];
    scores real[];
begin
    perform pgretrieval.check_search(filter, k);
    perform pgretrieval.check_min_score(min_score);
    if query is null then
        raise exception 'the dense vector of the query is null' using errcode = 'PGR05', hint = 'Give a vector.';
    end if;
    query := pgretrieval.checked_dense(held, 'the query', query);
    select array_agg(passage_id), array_agg(found.score) into chosen, scores
    from pgretrieval.candidates_by_dense(held, query, k, filter, among, null, true) as found;
    return query select * from pgretrieval.show(held, chosen, scores, k, min_score);
end
$function$;
