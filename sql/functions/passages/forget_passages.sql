-- Removes the rows that belong to the deleted among the given passages, and records these for the next compaction if postings may list
-- them. Runs as the owner of the schema, so that deleting requires no rights on rows of other passages; it does nothing to passages that
-- exist or were never coded, whoever calls it.
create or replace function pgretrieval.forget_passages(in_collection integer, passage_ids integer[]) returns void
language plpgsql volatile security definer
set search_path from current
set plan_cache_mode = force_custom_plan
as $function$
#variable_conflict use_column
declare
    active integer := (select codebook_id from pgretrieval.collection where collection.collection_id = in_collection);
    there integer[] := array(
        select passage.passage_id
        from pgretrieval.passage
        where passage.collection_id = in_collection and passage.passage_id = any(forget_passages.passage_ids)
    );
    removed integer[] := array(
        select given.passage_id from unnest(forget_passages.passage_ids) as given (passage_id) where given.passage_id <> all(there)
    );
begin
    if row_security_active('pgretrieval.passage') and not pg_has_role(session_user, current_user, 'member') then
        raise exception 'row-level security is forced on the owner of the schema, to whom passages look gone that are there'
            using errcode = 'insufficient_privilege', hint = 'ALTER TABLE pgretrieval.passage NO FORCE ROW LEVEL SECURITY.';
    end if;
    delete from pgretrieval.token_vector where token_vector.collection_id = in_collection and token_vector.passage_id = any(removed);
    delete from pgretrieval.dense_vector where dense_vector.collection_id = in_collection and dense_vector.passage_id = any(removed);
    delete from pgretrieval.item_embedding
    where item_embedding.factorization_id = any(array(
        select factorization.factorization_id from pgretrieval.factorization where factorization.collection_id = in_collection
    )) and item_embedding.passage_id = any(removed);
    delete from pgretrieval.anchor_score
    where anchor_score.matrix_id = any(array(
        select score_matrix.matrix_id from pgretrieval.score_matrix where score_matrix.collection_id = in_collection
    )) and anchor_score.passage_id = any(removed);
    if active is not null then
        delete from pgretrieval.proxy where proxy.codebook_id = active and proxy.passage_id = any(removed);
        -- Whoever has codes was a passage, and its number is never used again.
        insert into pgretrieval.removed_passage (collection_id, bucket, passage_id)
        select in_collection, token_code.bucket, token_code.passage_id
        from pgretrieval.token_code
        where token_code.collection_id = in_collection and token_code.codebook_id = active
          and token_code.passage_id = any(removed)
        on conflict do nothing;
        delete from pgretrieval.token_code
        where token_code.collection_id = in_collection and token_code.codebook_id = active
          and token_code.passage_id = any(removed);
    end if;
end
$function$;
revoke execute on function pgretrieval.forget_passages(integer, integer[]) from public;
