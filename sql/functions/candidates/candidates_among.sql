-- candidates_by_postings among the passages that the caller may see and that `filter` and `among` leave: min(n, matches) of them, those
-- that no probed centroid lists last.
create or replace function pgretrieval.candidates_among(
    in_collection integer, in_codebook integer, centroid_ids integer[], centroid_scores real[], n integer,
    filter jsonpath, among text[]
) returns table (bucket smallint, passage_id integer, score real)
language sql stable rows 256
begin atomic
    select found.bucket, found.passage_id, found.score
    from pgretrieval.ranked_among(
        in_collection,
        case when row_security_active('pgretrieval.passage') then format(
            'select * from pgretrieval.own_postings(%s, %s, %L::integer[], %L::real[], pgretrieval.claims_of(%1$s, $2, $3))',
            in_collection, in_codebook, centroid_ids, centroid_scores
        ) else format(
            'select posting.bucket, entry.passage_id, sum(probe.score) as score
             from unnest(%L::integer[], %L::real[]) as probe (centroid_id, score)
             join pgretrieval.posting
                 on posting.collection_id = %s and posting.codebook_id = %s and posting.centroid_id = probe.centroid_id
             cross join lateral unnest(posting.passage_ids) as entry (passage_id)
             group by posting.bucket, entry.passage_id',
            centroid_ids, centroid_scores, in_collection, in_codebook
        ) end,
        n, filter, among, true
    ) as found;
end;
