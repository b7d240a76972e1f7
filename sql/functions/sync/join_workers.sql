-- Keeps an attached collection attached until the transaction ends, together with other workers; false where it is not attached.
create or replace function pgretrieval.join_workers(in_collection integer) returns boolean
language plpgsql volatile
set search_path from current
as $function$
begin
    perform pgretrieval.lock_collection(in_collection, 'following', null);
    return exists (select from pgretrieval.attachment where collection_id = in_collection);
end
$function$;
