-- Returns min(n, matches) candidates by postings among the passages that the caller may see and that match `filter` and `among`; those
-- that no probed centroid lists come last. A passage scores the sum of its centroids' scores or, where `query_tokens` says which token
-- probed each, the sum of the best score for each token.
create or replace function pgretrieval.candidates_among(
    in_collection integer, in_codebook integer, centroid_ids integer[], centroid_scores real[], n integer,
    filter jsonpath, among text[], query_tokens integer[] default null
) returns table (bucket smallint, passage_id integer, score real)
language sql stable rows 256
begin atomic
    select found.bucket, found.passage_id, found.score
    from pgretrieval.ranked_among(
        in_collection,
        format(
            case when query_tokens is null then
                'select posting.bucket, entry.passage_id, sum(probe.score) as score'
            else
                'select best.bucket, best.passage_id, sum(best.score) as score
                 from (select posting.bucket, entry.passage_id, max(probe.score) as score'
            end || '
             from unnest(%1$L::integer[], %2$L::real[], %5$L::integer[]) as probe (centroid_id, score, token)
             join ' || case when row_security_active('pgretrieval.passage') then
                 'pgretrieval.own_entries(''posting'', %3$s, %4$s, %1$L::text[], pgretrieval.claims_of(%3$s, $2, $3)) as posting
                      on posting.centroid_id = probe.centroid_id'
             when pgretrieval.is_distributed() then
                 'pgretrieval.posting
                      on posting.collection_id = %3$s and posting.codebook_id = %4$s and posting.centroid_id = probe.centroid_id'
             else
                 'lateral (
                      select posting.bucket, posting.passage_ids
                      from pgretrieval.posting
                      where posting.collection_id = %3$s and posting.codebook_id = %4$s and posting.centroid_id = probe.centroid_id
                      offset 0  -- one index look-up each; a join of many centroids would read all postings
                  ) as posting on true'
             end || '
             cross join lateral unnest(posting.passage_ids) as entry (passage_id)
             group by ' || case when query_tokens is null then 'posting.bucket, entry.passage_id'
             else 'probe.token, posting.bucket, entry.passage_id) as best group by best.bucket, best.passage_id' end,
            centroid_ids, centroid_scores, in_collection, in_codebook, query_tokens
        ),
        n, filter, among, true
    ) as found;
end;
