-- Returns the number of tokens of each centroid, of passages that the caller may see; `width` is the bytes of a token's residual.
create or replace function pgretrieval.centroid_sizes(in_collection integer, in_codebook integer, width integer)
returns table (centroid_id integer, tokens bigint)
language sql stable rows 1000
begin atomic
    select posting_code.centroid_id, sum(length(posting_code.residuals)) / width
    from pgretrieval.posting_code
    where posting_code.collection_id = in_collection and posting_code.codebook_id = in_codebook
    group by posting_code.centroid_id
    union all
    select own.centroid_id, sum(cardinality(own.passage_ids))
    from pgretrieval.own_entries(
        'posting_code', in_collection, in_codebook, null, pgretrieval.claims_of(in_collection), contents => false
    ) as own
    where row_security_active('pgretrieval.passage')
    group by own.centroid_id;  -- whoever sees all passages reads the postings themselves
end;
