-- The tokens of some centroids as posting_code lists them, of the passages that are claimed. As the owner of the schema, see own_postings.
create or replace function pgretrieval.own_tokens(
    in_collection integer, in_codebook integer, centroid_ids integer[], claimed pgretrieval.claims
) returns table (bucket smallint, centroid_id integer, passage_ids integer[], residuals bytea)
language plpgsql stable rows 1000 security definer
set search_path from current
set plan_cache_mode = force_custom_plan
as $function$
begin
    return query execute format(
        $statement$
        select posting.bucket, posting.centroid_id, array_agg(entry.passage_id order by entry.place),
               string_agg(substr(posting.residuals, 1 + posting.width * (entry.place::integer - 1), posting.width), '' order by entry.place)
        from (
            select posting_code.bucket, posting_code.centroid_id, posting_code.segment, posting_code.passage_ids,
                   substr(posting_code.residuals, 1) as residuals,  -- read once, not piece by piece
                   length(posting_code.residuals) / cardinality(posting_code.passage_ids) as width
            from pgretrieval.posting_code
            where posting_code.collection_id = %s and posting_code.codebook_id = %s and posting_code.centroid_id = any($1)
            offset 0
        ) as posting
        cross join lateral unnest(posting.passage_ids) with ordinality as entry (passage_id, place)
        where entry.passage_id = any($2)
        group by posting.bucket, posting.centroid_id, posting.segment
        $statement$,
        in_collection, in_codebook
    ) using centroid_ids, pgretrieval.proven(in_collection, claimed);
end
$function$;
revoke execute on function pgretrieval.own_tokens(integer, integer, integer[], pgretrieval.claims) from public;
