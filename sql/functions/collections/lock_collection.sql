-- Locks what a kind of work on one collection has for that, in a mode of LOCK TABLE, until the transaction ends. It takes rights on that
-- table, it queues those who wait, and it gives the transaction no number, which would hold every vacuum up while it lasts. Mode null
-- shares it with others of the kind: deleting nothing locks the partition of this collection alone, and takes the right to delete from its
-- parent.
create or replace function pgretrieval.lock_collection(in_collection integer, kind text, mode text) returns void
language plpgsql volatile
set search_path from current
as $function$
begin
    if mode is null then
        execute format('delete from pgretrieval.%I where collection_id = %s', kind || '_lock', in_collection);
    else
        execute format('lock table only pgretrieval.%I in %s mode', kind || '_lock_' || in_collection, mode);
    end if;
exception when undefined_table then
    raise exception 'collection (collection_id %) was dropped', in_collection using errcode = 'PGR04',
        hint = 'Create it again, or open another.';
end
$function$;
