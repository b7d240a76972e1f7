-- Merges the segments of some centroids that are marked compacting into segment 0 and drops the entries of removed passages that are. The
-- plan is fixed by its form, whatever statistics say: postings by their index, and removed passages as an array, which is hashed.
create or replace function pgretrieval.compact_postings(in_collection integer, in_codebook integer, first_centroid integer, next_centroid integer)
returns void
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
    changed integer[];
begin
    changed := array(
        select distinct posting.centroid_id
        from pgretrieval.posting
        where posting.collection_id = in_collection and posting.codebook_id = in_codebook
          and posting.centroid_id >= first_centroid and posting.centroid_id < next_centroid and posting.segment = any(merging)
          and (posting.segment > 0
               or exists (select from unnest(posting.passage_ids) as entry (passage_id) where entry.passage_id = any(removed)))
    );
    with gone as (
        delete from pgretrieval.posting
        where posting.collection_id = in_collection and posting.codebook_id = in_codebook
          and posting.centroid_id = any(changed) and posting.segment = any(merging)
        returning posting.centroid_id, posting.bucket, posting.passage_ids
    )
    insert into pgretrieval.posting (collection_id, codebook_id, centroid_id, bucket, segment, passage_ids)
    select in_collection, in_codebook, gone.centroid_id, gone.bucket, 0, array_agg(entry.passage_id order by entry.passage_id)
    from gone
    cross join lateral unnest(gone.passage_ids) as entry (passage_id)
    where entry.passage_id <> all(removed)
    group by gone.centroid_id, gone.bucket;
end
$function$;
