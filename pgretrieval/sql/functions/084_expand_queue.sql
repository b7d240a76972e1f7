-- Puts every key in the place of entries that stand for all of them: those of the source, those that passages came from, and those that
-- are queued, of which another worker may be writing passages that are not seen yet. Returns how many, null where there was no such
-- entry, or another session is at it.
create or replace function pgretrieval.expand_queue(in_collection integer) returns bigint
language plpgsql volatile
set search_path from current
set plan_cache_mode = force_custom_plan
as $function$
declare
    held pgretrieval.attachment;
    pieces record;
    entries bigint[] := array(
        select queue_id from pgretrieval.queue
        where queue.collection_id = in_collection and queue.key is null and queue.parked_at is null
        for update skip locked
    );
    added bigint;
begin
    select * into held from pgretrieval.attachment where collection_id = in_collection;
    if not found or cardinality(entries) = 0 then
        return null;
    end if;
    select * into pieces from pgretrieval.source_of(held);
    execute format(
        'insert into pgretrieval.queue (collection_id, key)
         select $1, known.key from (
             select format(''%%s'', source.%1$I) as key from %2$s as source where source.%1$I is not null
             union
             select %3$s
             union
             select queue.key from pgretrieval.queue where queue.collection_id = $1 and queue.key is not null
         ) as known (key)
         where known.key <> ''''',
        held.key_column, pgretrieval.qualified_name(held.source),
        case when held.query is null then 'passage.key from pgretrieval.passage where passage.collection_id = $1'
             else 'source_key from pgretrieval.source_passage where source_passage.collection_id = $1' end
    ) using in_collection;
    get diagnostics added = row_count;
    delete from pgretrieval.queue where queue_id = any(entries);
    perform pg_notify('pgretrieval', '');
    return added;
end
$function$;
