-- The n passages with the highest BM25 score (Robertson and Zaragoza 2009) for the words of a text, among those that the caller may see
-- and that `filter` and `among` leave. A collection without postings of words is read whole. Of the text the first
-- 64,000 characters count. Under row-level security words are as rare
-- as in the passages that the caller may see, so that scores tell nothing of the others.
create or replace function pgretrieval.candidates_by_text(
    held pgretrieval.collection, query_text text, n integer, filter jsonpath, among text[]
) returns table (bucket smallint, passage_id integer, score real)
language plpgsql stable rows 256
set search_path from current
set plan_cache_mode = force_custom_plan
as $function$
#variable_conflict use_column
declare
    passages real;
    scored text;
begin
    if held.language is null then
        raise exception 'collection % has no text search', quote_literal(held.name)
            using errcode = 'PGR05', hint = 'Create it with a language, such as english or simple.';
    end if;
    if held.mean_words is null then
        scored := $scored$,
            found as materialized (
                select spoken.bucket, spoken.passage_id, spoken.word, asked.times,
                       pgretrieval.word_weight(spoken.occurrences, spoken.length, spoken.mean_length) as weight, spoken.total
                from (
                    select words.*, sum(occurrences) over (partition by passage_id, bucket) as length,
                           (sum(occurrences) over ())::real / max(place) over () as mean_length, max(place) over () as total
                    from (
                        select words_of.*, dense_rank() over (order by passage_id) as place
                        from pgretrieval.words_of(%3$s, %2$L::regconfig, %5$s)
                    ) as words
                ) as spoken
                join asked on asked.word = spoken.word
            ),
            rare as materialized (
                select found.word, ln(1 + (max(found.total) - count(*) + 0.5) / (count(*) + 0.5))::double precision as rarity
                from found
                group by found.word
            )
            select found.bucket, found.passage_id, sum(found.times * found.weight * rare.rarity) as score
            from found join rare using (word)
            group by found.bucket, found.passage_id
            $scored$;
    elsif row_security_active('pgretrieval.passage') then
        select count(*) into passages from pgretrieval.passage where passage.collection_id = held.collection_id;
        scored := $scored$,
            found as materialized (
                select posting.bucket, entry.passage_id, posting.word, asked.times, entry.weight
                from asked
                join pgretrieval.own_entries(
                    'word_posting', %3$s, null, array(select asked.word from asked), pgretrieval.claims_of(%3$s)
                ) as posting on posting.word = asked.word
                cross join lateral unnest(posting.passage_ids, posting.weights) as entry (passage_id, weight)
            ),
            rare as materialized (
                select found.word,
                       ln(1 + (greatest(%4$s - count(*), 0) + 0.5) / (count(*) + 0.5))::double precision as rarity
                from found
                group by found.word
            )
            select found.bucket, found.passage_id, sum(found.times * found.weight * rare.rarity) as score
            from found join rare using (word)
            group by found.bucket, found.passage_id
            $scored$;
    else
        return query
        select found.bucket, found.passage_id, found.score
        from pgretrieval.candidates_by_words(
            held, (pgretrieval.word_vector(held.language::regconfig, null, left(query_text, 64000))).words, n, filter, among
        ) as found;
        return;
    end if;
    return query
    select found.bucket, found.passage_id, found.score
    from pgretrieval.ranked_among(
        held.collection_id,
        format(
            'with asked as (
                 select lexeme as word, cardinality(positions) as times from unnest((pgretrieval.word_vector(%2$L::regconfig, null, %1$L)).words)
             )' || scored,
            left(query_text, 64000), held.language, held.collection_id, passages, held.title_weight
        ),
        n, filter, among, false
    ) as found;
end
$function$;
