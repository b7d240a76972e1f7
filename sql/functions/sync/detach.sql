-- Detaches a collection: drops the triggers and all queued changes, and keeps the passages; returns false if it is not attached. Waits
-- for workers' batches first.
create or replace function pgretrieval.detach(name text) returns boolean
language plpgsql volatile
set search_path from current
as $function$
declare
    held pgretrieval.collection := pgretrieval.known_collection(detach.name);
    source regclass;
    trigger_name text;
begin
    if not exists (select from pgretrieval.attachment where collection_id = held.collection_id) then
        return false;
    end if;
    perform pgretrieval.lock_collection(held.collection_id, 'following', 'share row exclusive');
    delete from pgretrieval.attachment where collection_id = held.collection_id returning attachment.source into source;
    if not found then
        return false;
    end if;
    if exists (select from pg_class where oid = source) then
        perform pgretrieval.lock_briefly(
            format('detaching collection %L', held.name), array[source], 'access exclusive', descendants => true
        );
    end if;
    for trigger_name in
        select tgname from pg_trigger
        where tgrelid = source and tgname in ('pgretrieval_' || held.collection_id, 'pgretrieval_' || held.collection_id || '_truncate')
    loop
        execute format('drop trigger %I on %s', trigger_name, source);
    end loop;
    delete from pgretrieval.queue where queue.collection_id = held.collection_id;
    return true;
end
$function$;
