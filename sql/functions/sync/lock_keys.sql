-- Locks all entries of keys until the transaction ends, for what was made of their rows to be written; keys of which another worker has
-- any, or that are not queued any more, are left out. So two texts of one row are never written by two at once.
create or replace function pgretrieval.lock_keys(in_collection integer, keys text[]) returns table (key text, entries bigint[])
language plpgsql volatile
set search_path from current
as $function$
#variable_conflict use_column
begin
    return query
    with mine as materialized (
        select queue.key, queue.queue_id from pgretrieval.queue
        where queue.collection_id = in_collection and queue.key = any(keys)
          and hashtext(queue.key) = any(array(select hashtext(given) from unnest(keys) as given))  -- which the index is of
        for update skip locked
    )
    select mine.key, array_agg(mine.queue_id) from mine
    group by mine.key
    having count(*) = (
        select count(*) from pgretrieval.queue
        where queue.collection_id = in_collection and queue.key = mine.key and hashtext(queue.key) = hashtext(mine.key)
    );
end
$function$;
