-- Claims keys of the oldest entries that are due and free, each with all its entries, parked or waiting too, for some seconds: until then
-- no other worker claims them, though nothing is locked once the transaction has ended. A worker has a key when it has locked all its
-- entries that are there: of two workers one sees an entry that the other has.
create or replace function pgretrieval.claim_keys(in_collection integer, most integer, seconds double precision)
returns table (key text, entries bigint[])
language plpgsql volatile
set search_path from current
as $function$
#variable_conflict use_column
declare
    claimed bigint[];
begin
    with due as materialized (
        select queue.key from pgretrieval.queue
        where queue.collection_id = in_collection and queue.parked_at is null and queue.not_before <= clock_timestamp()
          and queue.claimed_until <= clock_timestamp() and queue.key is not null
          and not exists (
              select from pgretrieval.queue as earlier
              where earlier.collection_id = in_collection and earlier.key = queue.key and hashtext(earlier.key) = hashtext(queue.key)
                and earlier.claimed_until > clock_timestamp()
          )
        order by queue.queue_id limit most
        for update skip locked
    ),
    mine as materialized (
        select queue.key, queue.queue_id from pgretrieval.queue
        where queue.collection_id = in_collection and queue.key = any(array(select due.key from due))
          and hashtext(queue.key) = any(array(select hashtext(due.key) from due))  -- which the index is of
          and queue.claimed_until <= clock_timestamp()
        for update skip locked
    )
    select array_agg(mine.queue_id) into claimed from mine
    where mine.key in (
        select mine.key from mine
        group by mine.key
        having count(*) = (
            select count(*) from pgretrieval.queue
            where queue.collection_id = in_collection and queue.key = mine.key and hashtext(queue.key) = hashtext(mine.key)
        )
    );
    return query
    with marked as (
        update pgretrieval.queue set claimed_until = clock_timestamp() + seconds * interval '1 second'
        where queue_id = any(claimed)
        returning queue.key, queue_id
    )
    select marked.key, array_agg(marked.queue_id) from marked group by marked.key;
end
$function$;
