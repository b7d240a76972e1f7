-- What a kind of work on one collection shares with others of its kind, until the transaction ends: deleting nothing locks the partition of
-- this collection alone, and takes the right to delete from its parent.
create or replace function pgretrieval.share_collection(in_collection integer, kind text) returns void
language plpgsql volatile
set search_path from current
as $function$
begin
    execute format('delete from pgretrieval.%I where collection_id = %s', kind || '_lock', in_collection);
end
$function$;
