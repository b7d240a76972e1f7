-- Runs one step of a compaction, to be committed before the next: merges segments of postings and drops entries of removed passages, of
-- some hundred centroids or some thousand words. Returns true while there is more to do; any session can call it again and continue.
-- Returns false also while another session runs it. Searches, adds and deletes continue meanwhile; what they add is left to the next
-- compaction. Runs as the owner of the schema, because postings list passages of all tenants; it drops only what is recorded as removed.
create or replace function pgretrieval.compact(collection text) returns boolean
language plpgsql volatile security definer
set search_path from current
set plan_cache_mode = force_custom_plan
as $function$
#variable_conflict use_column
declare
    held pgretrieval.collection := pgretrieval.known_collection(compact.collection);
    progress pgretrieval.compaction;
    centroids integer;
    until text;
begin
    held := pgretrieval.lock_for_change(held.collection_id);
    perform from pgretrieval.collection c
    where c.collection_id = held.collection_id and c.codebook_id is not null for no key update skip locked;
    if not found then
        return false;
    end if;
    select centroid_count into centroids from pgretrieval.codebook where codebook.codebook_id = held.codebook_id;
    select * into progress from pgretrieval.compaction where compaction.collection_id = held.collection_id;
    if progress.codebook_id is distinct from held.codebook_id then
        -- None is under way, or the collection was rebuilt since: what is to be done now is marked, and nothing else is touched.
        -- Removed passages first: the segments that list them are then all seen, though others add and delete between the statements.
        update pgretrieval.removed_passage set compacting = true
        where removed_passage.collection_id = held.collection_id and not compacting;
        update pgretrieval.segment set compacting = true
        where segment.collection_id = held.collection_id and segment.codebook_id = held.codebook_id and posting_rows > 0;
        delete from pgretrieval.compaction where compaction.collection_id = held.collection_id;
        if not exists (select from pgretrieval.segment where segment.collection_id = held.collection_id and compacting)
           and not exists (select from pgretrieval.removed_passage where removed_passage.collection_id = held.collection_id) then
            return false;
        end if;
        insert into pgretrieval.compaction (collection_id, codebook_id) values (held.collection_id, held.codebook_id)
        returning * into progress;
    end if;
    if progress.next_centroid < centroids then
        perform pgretrieval.compact_postings(
            held.collection_id, held.codebook_id, case held.scorer when 'maxsim' then 'posting' else 'posting_code' end,
            (progress.next_centroid - 1)::text, 512
        );
        update pgretrieval.compaction set next_centroid = progress.next_centroid + 512
        where compaction.collection_id = held.collection_id;
        return true;
    end if;
    until := pgretrieval.compact_postings(held.collection_id, held.codebook_id, 'word_posting', progress.next_word, 2000);
    if until is not null then
        update pgretrieval.compaction set next_word = until where compaction.collection_id = held.collection_id;
        return true;
    end if;
    -- All are merged: their rows become one, which keeps what drift is told by, and tells that the postings changed.
    with merged as (
        delete from pgretrieval.segment
        where segment.collection_id = held.collection_id and segment.codebook_id = held.codebook_id
          and (compacting or segment = 0)
        returning *
    )
    insert into pgretrieval.segment (collection_id, codebook_id, segment, passages, tokens, posting_rows, quantization_error)
    select held.collection_id, held.codebook_id, 0, coalesce(sum(merged.passages), 0), coalesce(sum(merged.tokens), 0), 0,
           sum(merged.tokens * merged.quantization_error)
               / nullif(sum(merged.tokens) filter (where merged.quantization_error is not null), 0)
    from merged;
    delete from pgretrieval.removed_passage where removed_passage.collection_id = held.collection_id and compacting;
    delete from pgretrieval.compaction where compaction.collection_id = held.collection_id;
    return false;
end
$function$;
revoke execute on function pgretrieval.compact(text) from public;
