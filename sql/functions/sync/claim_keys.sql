-- Claims keys of the oldest entries that are due and free, each with all its entries, parked or waiting too, until the transaction ends. A
-- worker has a key when it has locked all its entries that are there: of two workers one sees an entry that the other has, so that two
-- texts of one row are never written by two at once.
create or replace function pgretrieval.claim_keys(in_collection integer, most integer) returns table (key text, entries bigint[])
language plpgsql volatile
set search_path from current
as $function$
#variable_conflict use_column
begin
    return query
    with due as materialized (
        select queue.key from pgretrieval.queue
        where queue.collection_id = in_collection and queue.parked_at is null and queue.not_before <= clock_timestamp()
          and queue.key is not null
        order by queue.queue_id limit most
        for update skip locked
    ),
    mine as materialized (
        select queue.key, queue.queue_id from pgretrieval.queue
        where queue.collection_id = in_collection and queue.key = any(array(select due.key from due))
          and hashtext(queue.key) = any(array(select hashtext(due.key) from due))  -- which the index is of
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
