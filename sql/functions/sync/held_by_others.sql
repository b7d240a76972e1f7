-- How many entries of a collection's queue are due, and which sessions may have them.
create or replace function pgretrieval.held_by_others(in_collection integer, out entries bigint, out holders text)
language sql stable
begin atomic
    select count(*),
           (select string_agg(distinct 'process ' || pid, ', ') from pg_catalog.pg_locks
            where relation = 'pgretrieval.queue'::regclass and granted and pid <> pg_backend_pid() and mode <> 'AccessShareLock')
    from pgretrieval.queue
    where queue.collection_id = in_collection and queue.parked_at is null and queue.not_before <= clock_timestamp();
end;
