-- Ends what `attach` began: triggers and everything queued go, passages stay; false where the collection is not attached. Waits for
-- workers' batches in it first.
create or replace function pgretrieval.detach(name text) returns boolean
language plpgsql volatile
set search_path from current
as $function$
declare
    held pgretrieval.collection := pgretrieval.known_collection(detach.name);
    source regclass;
    trigger_name text;
begin
    perform pg_advisory_xact_lock(7453021, held.collection_id);
    delete from pgretrieval.attachment where collection_id = held.collection_id returning attachment.source into source;
    if not found then
        return false;
    end if;
    for trigger_name in
        select tgname from pg_trigger
        where tgrelid = source and tgname in ('pgretrieval_' || held.collection_id, 'pgretrieval_' || held.collection_id || '_truncate')
    loop
        execute format('drop trigger %I on %s', trigger_name, pgretrieval.qualified_name(source));
    end loop;
    delete from pgretrieval.queue where queue.collection_id = held.collection_id;
    return true;
end
$function$;
