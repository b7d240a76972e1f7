-- How many tokens of the passages that are claimed each centroid has. As the owner of the schema, see own_postings.
create or replace function pgretrieval.own_token_counts(in_collection integer, in_codebook integer, claimed pgretrieval.claims)
returns table (centroid_id integer, tokens bigint)
language plpgsql stable rows 1000 security definer
set search_path from current
set plan_cache_mode = force_custom_plan
as $function$
begin
    return query execute format(
        $statement$
        select posting_code.centroid_id, count(*)
        from pgretrieval.posting_code
        cross join lateral unnest(posting_code.passage_ids) as entry (passage_id)
        where posting_code.collection_id = %s and posting_code.codebook_id = %s and entry.passage_id = any($1)
        group by posting_code.centroid_id
        $statement$,
        in_collection, in_codebook
    ) using pgretrieval.proven(in_collection, claimed);
end
$function$;
revoke execute on function pgretrieval.own_token_counts(integer, integer, pgretrieval.claims) from public;
