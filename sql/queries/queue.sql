-- name: begin
-- READ COMMITTED: rows are read after their keys were claimed, so with all changes committed until then.
set transaction isolation level read committed

-- name: join
-- Keeps the collection attached until the end of the transaction: workers share the lock, a detach takes it exclusively.
select pgretrieval.lock_collection(%(collection_id)s, 'following', null)

-- name: is_attached
select exists (select from pgretrieval.attachment where collection_id = %(collection_id)s)

-- name: expand
select pgretrieval.expand_queue(%(collection_id)s)

-- name: claim
-- Entries of the oldest keys that are due and free, each key with all its entries, parked or waiting too. A worker has a key when it has
-- locked all its entries that are there: of two workers one sees an entry that the other has.
with due as materialized (
    select queue.key from pgretrieval.queue
    where queue.collection_id = %(collection_id)s and queue.parked_at is null and queue.not_before <= pg_catalog.clock_timestamp()
      and queue.claimed_until <= pg_catalog.clock_timestamp() and queue.key is not null
      and not exists (
          select from pgretrieval.queue as earlier
          where earlier.collection_id = %(collection_id)s and earlier.key = queue.key
            and pg_catalog.hashtext(earlier.key) = pg_catalog.hashtext(queue.key)
            and earlier.claimed_until > pg_catalog.clock_timestamp()
      )
    order by queue.queue_id limit %(n)s
    for update skip locked
),
mine as materialized (
    select queue.key, queue.queue_id from pgretrieval.queue
    where queue.collection_id = %(collection_id)s and queue.key = any(array(select due.key from due))
      and pg_catalog.hashtext(queue.key) = any(array(select pg_catalog.hashtext(due.key) from due))  -- which the index is of
      and queue.claimed_until <= pg_catalog.clock_timestamp()
    for update skip locked
)
select mine.key, pg_catalog.array_agg(mine.queue_id) from mine
group by mine.key
having pg_catalog.count(*) = (
    select pg_catalog.count(*) from pgretrieval.queue
    where queue.collection_id = %(collection_id)s and queue.key = mine.key
      and pg_catalog.hashtext(queue.key) = pg_catalog.hashtext(mine.key)
)

-- name: claim_entries
-- Until then no other worker claims them, though nothing is locked once the transaction has ended.
update pgretrieval.queue set claimed_until = pg_catalog.clock_timestamp() + %(seconds)s * interval '1 second'
where queue_id = any(%(entries)s)

-- name: lock
-- Lock all entries of keys until the transaction ends, for what was made of their rows to be written; keys of which another worker has
-- any entry, or that are not queued any more, are left out. So two texts of one row are never written by two workers at once.
with mine as materialized (
    select queue.key, queue.queue_id from pgretrieval.queue
    where queue.collection_id = %(collection_id)s and queue.key = any(%(keys)s::text[])
      and pg_catalog.hashtext(queue.key) = any(array(  -- which the index is of
          select pg_catalog.hashtext(given.key) from pg_catalog.unnest(%(keys)s::text[]) as given (key)
      ))
    for update skip locked
)
select mine.key, pg_catalog.array_agg(mine.queue_id) from mine
group by mine.key
having pg_catalog.count(*) = (
    select pg_catalog.count(*) from pgretrieval.queue
    where queue.collection_id = %(collection_id)s and queue.key = mine.key
      and pg_catalog.hashtext(queue.key) = pg_catalog.hashtext(mine.key)
)

-- name: renew
update pgretrieval.queue set claimed_until = pg_catalog.clock_timestamp() + %(seconds)s * interval '1 second'
where queue_id = any(%(entries)s) and claimed_until > '-infinity'

-- name: release_claim
update pgretrieval.queue set claimed_until = '-infinity' where queue_id = any(%(entries)s) and claimed_until > '-infinity'

-- name: held_by_others
-- How many entries are due, and which sessions may have them.
select pg_catalog.count(*),
       (select pg_catalog.string_agg(distinct pg_catalog.concat('process ', pid), ', ') from pg_catalog.pg_locks
        where relation = 'pgretrieval.queue'::regclass::oid and granted and pid <> pg_catalog.pg_backend_pid()
          and mode <> 'AccessShareLock')
from pgretrieval.queue
where queue.collection_id = %(collection_id)s and queue.parked_at is null and queue.not_before <= pg_catalog.clock_timestamp()

-- name: source_rows
select key, id, texts, metadata from pgretrieval.source_rows(%(collection_id)s, %(keys)s)

-- name: done
delete from pgretrieval.queue where queue_id = any(%(entries)s)

-- name: failed
-- Keep the newest entry of a key, to be retried later or parked.
with gone as (
    delete from pgretrieval.queue
    where queue_id = any(%(entries)s) and queue_id < (select pg_catalog.max(entry) from pg_catalog.unnest(%(entries)s::bigint[]) as entry)
)
update pgretrieval.queue
set attempts = attempts + 1, claimed_until = '-infinity', error = %(error)s,
    not_before = pg_catalog.clock_timestamp() + interval '1 second' * pg_catalog.power(4, attempts + 1),
    parked_at = case when %(at_once)s or attempts + 1 >= %(most)s then pg_catalog.clock_timestamp() end
where queue_id = (select pg_catalog.max(entry) from pg_catalog.unnest(%(entries)s::bigint[]) as entry)
returning parked_at is not null

-- name: assign
-- Record the source rows of passages. In order, so that two workers do not deadlock.
insert into pgretrieval.source_passage (collection_id, bucket, passage_key, source_key)
select collection.collection_id, pgretrieval.bucket_of(passage_key, collection.buckets), passage_key, source_key
from rows from (pg_catalog.unnest(%(ids)s::text[]), pg_catalog.unnest(%(keys)s::text[])) as given (passage_key, source_key)
join pgretrieval.collection on collection.collection_id = %(collection_id)s
order by passage_key
on conflict (collection_id, passage_key, bucket) do update set source_key = excluded.source_key
where source_passage.source_key <> excluded.source_key

-- name: release
-- Passages that their source rows no longer yield.
delete from pgretrieval.source_passage
where collection_id = %(collection_id)s and source_key = any(%(keys)s) and passage_key <> all(%(ids)s)
returning passage_key

-- name: due
-- Whether these collections (null: all), except paused ones, have entries for a worker.
select exists (
    select from pgretrieval.attachment
    join pgretrieval.collection using (collection_id)
    cross join lateral (
        select from pgretrieval.queue
        where queue.collection_id = attachment.collection_id and queue.parked_at is null
          and queue.not_before <= pg_catalog.clock_timestamp() and queue.claimed_until <= pg_catalog.clock_timestamp()
        limit 1
    ) as waiting
    where (%(names)s::text[] is null or name = any(%(names)s::text[])) and name <> all(%(left_alone)s::text[])
)
