-- The entries of some words in postings of words, of the passages that are claimed. As the owner of the schema, see own_postings.
create or replace function pgretrieval.own_words(in_collection integer, words text[], claimed pgretrieval.claims)
returns table (bucket smallint, passage_id integer, word text, weight real)
language plpgsql stable rows 1000 security definer
set search_path from current
set plan_cache_mode = force_custom_plan
as $function$
begin
    return query execute format(
        $statement$
        select posting.bucket, entry.passage_id, posting.word, entry.weight
        from pgretrieval.word_posting as posting
        cross join lateral unnest(posting.passage_ids, posting.weights) as entry (passage_id, weight)
        where posting.collection_id = %s and posting.word = any($1) and entry.passage_id = any($2)
        $statement$,
        in_collection
    ) using words, pgretrieval.proven(in_collection, claimed);
end
$function$;
revoke execute on function pgretrieval.own_words(integer, text[], pgretrieval.claims) from public;
