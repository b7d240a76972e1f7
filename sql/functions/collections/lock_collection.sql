-- Locks a collection for a kind of work until the transaction ends, in a mode of LOCK TABLE, by the table of that kind: it requires
-- rights on the table, queues waiting sessions, and assigns the transaction no id, which would hold back every vacuum. Mode null shares
-- the lock with others of the kind: deleting no rows locks this collection's partition alone, and requires the right to delete from its
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
