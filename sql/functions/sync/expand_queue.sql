-- Replaces entries that stand for all keys by one entry for each: the keys of the source, those of stored passages, and those that are
-- queued, since another worker may be writing passages that are not visible yet. Returns their number, null if there was no such entry
-- or another session is at it.
create or replace function pgretrieval.expand_queue(in_collection integer) returns bigint
language plpgsql volatile
set search_path from current
set plan_cache_mode = force_custom_plan
set datestyle = 'ISO, YMD'
set timezone = 'UTC'
set intervalstyle = 'postgres'
set extra_float_digits = 1
set bytea_output = 'hex'
set lc_monetary = 'C'
as $function$
declare
    held pgretrieval.attachment;
    held_table pgretrieval.attachment;  -- without what a query makes of it
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
    held_table := held;
    if held.query is not null then
        held_table.query := null;
        held_table.text_columns := '{}';
        held_table.metadata_columns := '{}';
    end if;
    select * into pieces from pgretrieval.source_of(held_table);
    execute format(
        'insert into pgretrieval.queue (collection_id, key)
         select $1, known.key from (
             select %1$s as key from %2$s as source
             union
             select %3$s
             union
             select queue.key from pgretrieval.queue where queue.collection_id = $1 and queue.key is not null
         ) as known (key)
         where known.key <> ''''',
        pieces.key, pieces.relation,
        case when held.query is null then 'passage.key from pgretrieval.passage where passage.collection_id = $1'
             else 'source_key from pgretrieval.source_passage where source_passage.collection_id = $1' end
    ) using in_collection;
    get diagnostics added = row_count;
    delete from pgretrieval.queue where queue_id = any(entries);
    return added;
end
$function$;
