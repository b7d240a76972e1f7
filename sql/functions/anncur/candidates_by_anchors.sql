-- Returns the n passages with the highest estimated cross-encoder scores, best first. `anchor_scores` has the query's score of each
-- anchor item, by its place in anchor_items(). Null, for an item that was deleted or that the caller may not see, counts as its mean
-- over the anchor queries.
create or replace function pgretrieval.candidates_by_anchors(
    collection text, anchor_scores real[], n integer, filter jsonpath default null
) returns table (id text, score real)
language plpgsql stable rows 256
set search_path from current
set plan_cache_mode = force_custom_plan
as $function$
#variable_conflict use_column
declare
    held pgretrieval.collection := pgretrieval.known_collection(candidates_by_anchors.collection, factorized => true);
    anchors integer;
    scores real[];
    query real[];
begin
    perform pgretrieval.check_search(filter, n, named => 'n');
    select count(*) into anchors from pgretrieval.anchor_item as item where item.factorization_id = held.factorization_id;
    if anchors = 0 then
        raise exception 'the factorisation of collection % has no anchor items', candidates_by_anchors.collection
            using errcode = 'PGR05', hint = 'Factorize without per_query, or search in Python.';
    end if;
    if coalesce(cardinality(anchor_scores), 0) <> anchors or array_ndims(anchor_scores) <> 1 then
        raise exception 'there are % anchor scores, and % anchor items', coalesce(cardinality(anchor_scores), 0), anchors
            using errcode = 'PGR05', hint = 'Give one for each place of pgretrieval.anchor_items(), null where it lists none.';
    end if;
    select array_agg(coalesce(given.score, item.mean_score) order by item.place) into scores
    from pgretrieval.anchor_item as item
    join unnest(anchor_scores) with ordinality as given (score, place) on given.place = item.place
    where item.factorization_id = held.factorization_id;
    if exists (select from unnest(scores) as given (score) where given.score in ('NaN', 'Infinity', '-Infinity')) then
        raise exception 'anchor score % is not finite',
            (select min(place) from unnest(scores) with ordinality as given (score, place)
             where given.score in ('NaN', 'Infinity', '-Infinity')) using errcode = 'PGR05';
    end if;
    -- Each number of the query vector is one inner product: of the anchor scores and the direction at its place.
    select array_agg((-(item.direction operator(@extschema:vector@.<#>) scores::@extschema:vector@.vector))::real order by item.place)
        into query
    from pgretrieval.anchor_item as item
    where item.factorization_id = held.factorization_id;
    return query
    select passage.key, found.score
    from pgretrieval.candidates_by_embedding(held.collection_id, held.factorization_id, query, n, filter, null, null) as found
    join pgretrieval.passage
        on passage.collection_id = held.collection_id and passage.bucket = found.bucket and passage.passage_id = found.passage_id
    order by found.score desc, passage.passage_id;
end
$function$;
