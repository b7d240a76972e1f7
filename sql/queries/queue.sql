-- name: begin
-- READ COMMITTED: rows are read after their keys were claimed, so with all changes committed until then.
set transaction isolation level read committed

-- name: join
-- Workers share the lock, a detach takes it exclusively; both until the end of the transaction.
select pgretrieval.join_workers(%(collection_id)s)

-- name: expand
select pgretrieval.expand_queue(%(collection_id)s)

-- name: claim
select key, entries from pgretrieval.claim_keys(%(collection_id)s, %(n)s, %(seconds)s)

-- name: lock
select key, entries from pgretrieval.lock_keys(%(collection_id)s, %(keys)s)

-- name: renew
update pgretrieval.queue set claimed_until = pg_catalog.clock_timestamp() + %(seconds)s * interval '1 second'
where queue_id = any(%(entries)s) and claimed_until > '-infinity'

-- name: release_claim
update pgretrieval.queue set claimed_until = '-infinity' where queue_id = any(%(entries)s) and claimed_until > '-infinity'

-- name: held_by_others
select entries, holders from pgretrieval.held_by_others(%(collection_id)s)

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
insert into pgretrieval.source_passage (collection_id, passage_key, source_key)
select %(collection_id)s, passage_key, source_key
from rows from (pg_catalog.unnest(%(ids)s::text[]), pg_catalog.unnest(%(keys)s::text[])) as given (passage_key, source_key)
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
