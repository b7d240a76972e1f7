-- candidates_by_postings, all of them, among the passages that are claimed. As the owner of the schema: postings list passages of all
-- tenants, and who sees only some of these may not read them.
create or replace function pgretrieval.own_postings(
    in_collection integer, in_codebook integer, centroid_ids integer[], centroid_scores real[], claimed pgretrieval.claims
) returns table (bucket smallint, passage_id integer, score real)
language plpgsql stable rows 1000 security definer
set search_path from current
set plan_cache_mode = force_custom_plan
as $function$
begin
    return query execute format(
        $statement$
        select posting.bucket, entry.passage_id, sum(probe.score)
        from unnest($1, $2) as probe (centroid_id, score)
        join pgretrieval.posting
            on posting.collection_id = %s and posting.codebook_id = %s and posting.centroid_id = probe.centroid_id
        cross join lateral unnest(posting.passage_ids) as entry (passage_id)
        where entry.passage_id = any($3)
        group by posting.bucket, entry.passage_id
        $statement$,
        in_collection, in_codebook
    ) using centroid_ids, centroid_scores, pgretrieval.proven(in_collection, claimed);
end
$function$;
revoke execute on function pgretrieval.own_postings(integer, integer, integer[], real[], pgretrieval.claims) from public;
