-- compact_postings for the postings of words: those after `last_word`, up to `words` of them. Returns the last word it looked at, null
-- where there was none left.
create or replace function pgretrieval.compact_words(in_collection integer, in_codebook integer, last_word text, words integer) returns text
language plpgsql volatile
set search_path from current
set plan_cache_mode = force_custom_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashagg = off
set enable_sort = off
as $function$
#variable_conflict use_column
declare
    merging integer[] := array(
        select segment from pgretrieval.segment
        where segment.collection_id = in_collection and segment.codebook_id = in_codebook and compacting
    ) || 0;
    removed integer[] := array(
        select passage_id from pgretrieval.removed_passage where removed_passage.collection_id = in_collection and compacting
    );
    since text := coalesce(last_word, '');
    until text;
    changed text[];
begin
    select max(listed.word) into until
    from (
        select distinct word_posting.word from pgretrieval.word_posting
        where word_posting.collection_id = in_collection and word_posting.word > since
        order by word_posting.word limit compact_words.words
    ) as listed;
    if until is null then
        return null;
    end if;
    changed := array(
        select distinct word_posting.word
        from pgretrieval.word_posting
        where word_posting.collection_id = in_collection
          and word_posting.word > since and word_posting.word <= until and word_posting.segment = any(merging)
          and (word_posting.segment > 0
               or exists (select from unnest(word_posting.passage_ids) as entry (passage_id) where entry.passage_id = any(removed)))
    );
    with gone as (
        delete from pgretrieval.word_posting
        where word_posting.collection_id = in_collection and word_posting.word = any(changed) and word_posting.segment = any(merging)
        returning word_posting.word, word_posting.bucket, word_posting.passage_ids, word_posting.weights
    )
    insert into pgretrieval.word_posting (collection_id, word, bucket, segment, passage_ids, weights)
    select in_collection, gone.word, gone.bucket, 0,
           array_agg(entry.passage_id order by entry.passage_id), array_agg(entry.weight order by entry.passage_id)
    from gone
    cross join lateral unnest(gone.passage_ids, gone.weights) as entry (passage_id, weight)
    where entry.passage_id <> all(removed)
    group by gone.word, gone.bucket;
    return until;
end
$function$;
revoke execute on function pgretrieval.compact_words(integer, integer, text, integer) from public;
