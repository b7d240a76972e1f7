-- The tokens of some centroids that are of passages which the caller may see and which `filter` and `among` leave, a row for each
-- centroid that has any: the passage of each token, and their packed residual bits one after the other.
create or replace function pgretrieval.tokens_among(
    in_collection integer, in_codebook integer, centroid_ids integer[], filter jsonpath, among text[]
) returns table (centroid_id integer, passage_ids integer[], residuals bytea)
language sql stable rows 100
begin atomic
    select posting.centroid_id,
           array_agg(entry.passage_id order by entry.passage_id, entry.place),
           string_agg(
               substr(posting.residuals, 1 + posting.width * (entry.place::integer - 1), posting.width), ''
               order by entry.passage_id, entry.place
           )
    from (
        select posting_code.bucket, posting_code.centroid_id, posting_code.passage_ids,
               substr(posting_code.residuals, 1) as residuals,  -- read once, not piece by piece
               length(posting_code.residuals) / cardinality(posting_code.passage_ids) as width
        from pgretrieval.posting_code
        where posting_code.collection_id = in_collection and posting_code.codebook_id = in_codebook
          and posting_code.centroid_id = any(tokens_among.centroid_ids)
        union all
        select own.bucket, own.centroid_id, own.passage_ids, own.residuals, length(own.residuals) / cardinality(own.passage_ids)
        from pgretrieval.own_tokens(
            in_collection, in_codebook, tokens_among.centroid_ids, pgretrieval.claims_of(in_collection, filter, among)
        ) as own
        where row_security_active('pgretrieval.passage')  -- whoever sees all passages reads the postings themselves
        offset 0
    ) as posting
    cross join lateral unnest(posting.passage_ids) with ordinality as entry (passage_id, place)
    join pgretrieval.passage
        on passage.collection_id = in_collection
        and passage.bucket = posting.bucket and passage.passage_id = entry.passage_id
    where (filter is null or passage.metadata @@ filter) and (among is null or passage.key = any(among))
    group by posting.centroid_id;
end;
