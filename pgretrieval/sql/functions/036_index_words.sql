-- Writes the words of some passages as one segment of postings, numbered by the first of them; or, for null, those of all passages as
-- segment 0 in place of all segments, with the mean length of a passage. Does nothing where there is no text search, and with some
-- passages alone before all were written once: searches read the texts until then. The word's rarity comes in at the search.
create or replace function pgretrieval.index_words(in_collection integer, in_passages integer[] default null) returns void
language plpgsql volatile
set search_path from current
as $function$
declare
    held pgretrieval.collection;
begin
    select * into strict held from pgretrieval.collection c where c.collection_id = in_collection;
    if held.language is null or in_passages is not null and held.mean_words is null then
        return;
    end if;
    if in_passages is null then
        delete from pgretrieval.word_posting where word_posting.collection_id = in_collection;
    end if;
    with words as materialized (
        select bucket, passage_id, word, occurrences, sum(occurrences) over (partition by passage_id) as length
        from pgretrieval.words_of(in_collection, held.language::regconfig, held.title_weight, in_passages)
    ),
    measured as (
        select case when in_passages is null
                    then (select sum(occurrences)::real / count(distinct passage_id) from words)
                    else held.mean_words end as mean_words
    ),
    noted as (
        update pgretrieval.collection
        set mean_words = measured.mean_words
        from measured
        where collection.collection_id = in_collection and measured.mean_words is distinct from held.mean_words
    )
    insert into pgretrieval.word_posting (collection_id, word, bucket, segment, passage_ids, weights)
    select in_collection, words.word, words.bucket, coalesce((select min(given) from unnest(in_passages) as given), 0),
           array_agg(words.passage_id order by words.passage_id),
           array_agg(
               pgretrieval.word_weight(words.occurrences, words.length, measured.mean_words)::real order by words.passage_id
           )
    from words cross join measured
    group by words.word, words.bucket;
end
$function$;
