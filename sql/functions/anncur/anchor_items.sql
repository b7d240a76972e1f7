-- Returns the anchor items that the caller may see: the passages that a query is scored with first, for candidates_by_anchors.
create or replace function pgretrieval.anchor_items(collection text)
returns table (place integer, id text, title text, body text)
language plpgsql stable rows 200
set search_path from current
set plan_cache_mode = force_custom_plan
as $function$
#variable_conflict use_column
declare
    held pgretrieval.collection := pgretrieval.known_collection(anchor_items.collection, factorized => true);
begin
    return query
    select item.place, passage.key, passage.title, passage.body
    from pgretrieval.anchor_item as item
    join pgretrieval.passage
        on passage.collection_id = held.collection_id and passage.bucket = item.bucket and passage.passage_id = item.passage_id
    where item.factorization_id = held.factorization_id
    order by item.place;
end
$function$;
