-- The tokens of some centroids that are of passages which the caller may see and which `filter` and `among` leave, a row for each
-- centroid that has any: the passage of each token, and their packed residual bits one after the other.
create or replace function pgretrieval.tokens_among(
    in_collection integer, in_codebook integer, centroid_ids integer[], filter jsonpath, among text[]
) returns table (centroid_id integer, passage_ids integer[], residuals bytea)
language sql stable rows 100
begin atomic
    select token.centroid_id,
           array_agg(token.passage_id order by token.passage_id, token.place),
           string_agg(token.packed, '' order by token.passage_id, token.place)
    from (
        select entry.centroid_id, entry.passage_id, entry.place,
               substr(entry.residuals, 1 + entry.width * (entry.place::integer - 1), entry.width) as packed
        from (
            select posting.bucket, posting.centroid_id, posting.residuals, posting.width, own.passage_id, own.place
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
            cross join lateral unnest(posting.passage_ids) with ordinality as own (passage_id, place)
            offset 0  -- the join of each token with each passage of its bucket looks cheap, as statistics say nothing of arrays
        ) as entry
        join pgretrieval.passage
            on passage.collection_id = in_collection and passage.bucket = entry.bucket and passage.passage_id = entry.passage_id
        where (filter is null or passage.metadata @@ filter) and (among is null or passage.key = any(among))
        offset 0
    ) as token
    group by token.centroid_id;
end;
