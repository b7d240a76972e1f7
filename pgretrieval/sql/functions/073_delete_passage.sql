-- Deletes one passage; false where there is none of that id that the caller may delete. What lists it in postings goes with the next
-- build; searches leave it out from the commit on.
create or replace function pgretrieval.delete_passage(collection text, id text) returns boolean
language plpgsql volatile
set search_path from current
as $function$
#variable_conflict use_column
declare
    held pgretrieval.collection := pgretrieval.known_collection(delete_passage.collection);
    old_id integer;
begin
    perform pg_advisory_xact_lock_shared(7453018, held.collection_id);
    held := pgretrieval.known_collection(delete_passage.collection);
    delete from pgretrieval.passage
    where passage.collection_id = held.collection_id and passage.key = delete_passage.id
    returning passage.passage_id into old_id;
    if not found then
        return false;
    end if;
    delete from pgretrieval.token_vector where token_vector.collection_id = held.collection_id and token_vector.passage_id = old_id;
    delete from pgretrieval.dense_vector where dense_vector.collection_id = held.collection_id and dense_vector.passage_id = old_id;
    delete from pgretrieval.token_code
    where token_code.collection_id = held.collection_id and token_code.codebook_id = held.codebook_id
      and token_code.passage_id = old_id;
    delete from pgretrieval.proxy where proxy.codebook_id = held.codebook_id and proxy.passage_id = old_id;
    return true;
end
$function$;
