-- Returns the collection as it is now, and keeps builds from switching it, and others from dropping it, until the transaction ends. A
-- transaction with an older snapshot fails with a serialisation error if the collection was switched since: it would write codes that
-- nothing reads.
create or replace function pgretrieval.lock_for_change(in_collection integer) returns pgretrieval.collection
language plpgsql volatile
set search_path from current
as $function$
declare
    held pgretrieval.collection;
begin
    perform pgretrieval.lock_collection(in_collection, 'change', null);
    if current_setting('transaction_isolation') = 'read committed' then
        select * into held from pgretrieval.collection c where c.collection_id = in_collection;
    else
        select * into held from pgretrieval.collection c where c.collection_id = in_collection for share;
    end if;
    return held;
end
$function$;
