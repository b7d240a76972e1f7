-- Writes the words of some passages as one segment of postings, and returns the mean length of a passage: `mean` if given, else the
-- collection's; in a build's first segment, 0, which has neither, that of these passages. Does nothing without text search, and before a
-- build has written the words of the existing passages: searches read the texts until then. A word's document frequency is applied by
-- the search. In a build's first segment the words of up to four passages, most of all, share rows (docs/design/space.md).
create or replace function pgretrieval.index_words(
    in_collection integer, in_passages integer[], mean real default null, in_segment integer default null
) returns real
language plpgsql volatile
set search_path from current
set plan_cache_mode = force_custom_plan
as $function$
declare
    held pgretrieval.collection;
    mean_words real;
    shared constant integer := 4;  -- passages of a word that shares its row
begin
    select * into strict held from pgretrieval.collection c where c.collection_id = in_collection;
    mean_words := coalesce(mean, held.mean_words);
    if held.language is null or mean_words is null and in_segment is null then
        return null;
    end if;
    if mean_words is null then
        select sum(occurrences)::real / count(distinct passage_id) into mean_words
        from pgretrieval.words_of(in_collection, held.language::regconfig, held.title_weight, in_passages);
    end if;
    insert into pgretrieval.word_posting (collection_id, word, bucket, segment, passage_ids, weights, words)
    with words as materialized (
        select bucket, passage_id, word, occurrences, sum(occurrences) over (partition by passage_id, bucket) as length
        from pgretrieval.words_of(in_collection, held.language::regconfig, held.title_weight, in_passages)
    ),
    listed as materialized (
        select words.word, words.bucket, array_agg(words.passage_id order by words.passage_id) as passage_ids,
               array_agg(pgretrieval.word_weight(words.occurrences, words.length, mean_words)::real order by words.passage_id) as weights
        from words
        group by words.word, words.bucket
    )
    select in_collection, listed.word, listed.bucket,
           coalesce(in_segment, (select min(given) from unnest(in_passages) as given)), listed.passage_ids, listed.weights, null
    from listed
    where in_segment is distinct from 0 or cardinality(listed.passage_ids) > shared
    union all
    select in_collection, pgretrieval.shared_word(listed.word), listed.bucket, in_segment,
           array_agg(entry.passage_id order by listed.word, entry.passage_id),
           array_agg(entry.weight order by listed.word, entry.passage_id),
           array_agg(listed.word order by listed.word, entry.passage_id)
    from listed
    cross join lateral unnest(listed.passage_ids, listed.weights) as entry (passage_id, weight)
    where in_segment = 0 and cardinality(listed.passage_ids) <= shared
    group by 2, listed.bucket;
    return mean_words;
end
$function$;
