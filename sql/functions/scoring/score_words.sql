-- BM25 of some passages for some words, each asked for so many times and so rare; passages that hold none of them do not come. An entry is
-- looked up in a long posting, and a short one is read whole. The
-- sum runs in the order in which the words are given.
create or replace function pgretrieval.score_words(
    in_collection integer, words text[], times integer[], rarities double precision[], passage_ids integer[]
) returns table (bucket smallint, passage_id integer, score double precision)
language plpgsql stable rows 100
set search_path from current
set plan_cache_mode = force_custom_plan
set enable_sort = off  -- groups are hashed, and so add up in the order of the words
set enable_memoize = off
as $function$
#variable_conflict use_column
declare
    short constant integer := 2 * cardinality(score_words.passage_ids);
begin
    return query
    select listed.bucket, entry.passage_id, sum(listed.times * entry.weight * listed.rarity)
    from (
        select posting.bucket, asked.times, asked.rarity,
               posting.passage_ids || '{}' as passage_ids, posting.weights || '{}' as weights  -- read once, not for each look-up
        from unnest(words, score_words.times, rarities) as asked (word, times, rarity)
        cross join lateral (
            select * from pgretrieval.word_entries(in_collection, asked.word) offset 0
        ) as posting
        offset 0
    ) as listed
    cross join lateral (
        select looked_up.passage_id, listed.weights[looked_up.place] as weight
        from (
            select wanted.passage_id, width_bucket(wanted.passage_id, listed.passage_ids) as place
            from unnest(score_words.passage_ids) as wanted (passage_id)
            where cardinality(listed.passage_ids) > short
            offset 0
        ) as looked_up
        where listed.passage_ids[looked_up.place] = looked_up.passage_id
        union all
        select read.passage_id, read.weight
        from unnest(listed.passage_ids, listed.weights) as read (passage_id, weight)
        where cardinality(listed.passage_ids) <= short and read.passage_id = any(score_words.passage_ids)
    ) as entry
    group by listed.bucket, entry.passage_id;
end
$function$;
