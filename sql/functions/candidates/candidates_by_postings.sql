-- Returns the n passages with the highest sum of scores of their probed centroids (PLAID's candidate generation with one GROUP BY; a
-- centroid that several query tokens probe is listed once, with the sum of their scores). The join removes deleted passages. Where
-- row-level security hides passages, and therefore postings, it returns none; use candidates_among there.
create or replace function pgretrieval.candidates_by_postings(
    in_collection integer, in_codebook integer, centroid_ids integer[], centroid_scores real[], n integer
) returns table (bucket smallint, passage_id integer, score real)
language sql stable parallel safe rows 256
begin atomic
    select passage.bucket, passage.passage_id, scored.score
    from (
        select posting.bucket, entry.passage_id, sum(probe.score) as score
        from unnest(centroid_ids, centroid_scores) as probe (centroid_id, score)
        join pgretrieval.posting
            on posting.collection_id = in_collection
            and posting.codebook_id = in_codebook
            and posting.centroid_id = probe.centroid_id
        cross join lateral unnest(posting.passage_ids) as entry (passage_id)
        group by posting.bucket, entry.passage_id
        order by sum(probe.score) desc, entry.passage_id
    ) as scored
    join pgretrieval.passage
        on passage.collection_id = in_collection
        and passage.bucket = scored.bucket
        and passage.passage_id = scored.passage_id
    order by scored.score desc, passage.passage_id
    limit n;
end;
