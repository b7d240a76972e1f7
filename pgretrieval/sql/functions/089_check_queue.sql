-- Whether a collection is told of the changes of the table that it is attached to, and whether nothing of an attachment is left where
-- there is none. Tells nothing where the role may not read the queue.
create or replace function pgretrieval.check_queue(held pgretrieval.collection)
returns table (rule text, id text, detail text)
language plpgsql stable
set search_path from current
as $function$
declare
    attached boolean := exists (select from pgretrieval.attachment where attachment.collection_id = (held).collection_id);
    triggers text := pgretrieval.sync_state((held).collection_id) ->> 'triggers';
begin
    if triggers <> 'enabled' then
        return query select 'missing_trigger', null::text, format('triggers of the attached table: %s', triggers);
    end if;
    if not has_table_privilege('pgretrieval.queue', 'select') then
        return;
    end if;
    if not attached then
        return query
            select 'orphan_queue', format('queue_id %s', queue.queue_id), 'the collection is not attached to a table'
            from pgretrieval.queue where queue.collection_id = (held).collection_id;
    end if;
    return query
        select 'orphan_source', source_passage.passage_key, format('row %L is noted as its source, and nothing is queued for that', source_key)
        from pgretrieval.source_passage
        where source_passage.collection_id = (held).collection_id
          and not exists (
              select from pgretrieval.passage
              where passage.collection_id = source_passage.collection_id and passage.bucket = source_passage.bucket
                and passage.key = source_passage.passage_key
          )
          and not exists (
              select from pgretrieval.queue
              where queue.collection_id = source_passage.collection_id
                and (queue.key is null or queue.key = source_passage.source_key)
          );
end
$function$;
