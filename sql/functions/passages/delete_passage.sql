-- Deletes one passage; returns false if there is none of that id that the caller may delete. Searches leave it out once this commits.
create or replace function pgretrieval.delete_passage(collection text, id text) returns boolean
language plpgsql volatile
set search_path from current
as $function$
#variable_conflict use_column
declare
    held pgretrieval.collection := pgretrieval.known_collection(delete_passage.collection);
begin
    held := pgretrieval.lock_for_change(held.collection_id);
    return pgretrieval.remove_passages(held.collection_id, array[delete_passage.id], null) > 0;
end
$function$;
