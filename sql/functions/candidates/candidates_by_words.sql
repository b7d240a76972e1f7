-- candidates_by_text by postings of words, for a caller who sees all passages (MaxScore, Turtle and Flood 1995). A word adds at most 2.2
-- times its rarity to a passage. Words that can add most come first: those that list some times n passages give n passages whose scores
-- are a bar, and the words that together cannot lift a passage over it only score the passages that others have found. Where few passages
-- match, these are scored.
create or replace function pgretrieval.candidates_by_words(
    held pgretrieval.collection, asked tsvector, n integer, filter jsonpath, among text[]
) returns table (bucket smallint, passage_id integer, score real)
language plpgsql stable rows 256
set search_path from current
set plan_cache_mode = force_custom_plan
set enable_sort = off  -- groups are hashed, and so add up in the order of the words
set enable_memoize = off
as $function$
#variable_conflict use_column
declare
    share real := pgretrieval.share_among(held.collection_id, filter, among);
    distributed boolean := pgretrieval.is_distributed();  -- the server then has no statistics
    held_passages numeric := case when distributed then (
        select count(*) from pgretrieval.passage where passage.collection_id = held.collection_id
    ) else (
        select greatest(reltuples, 1)::bigint from pg_class where oid = to_regclass(format('pgretrieval.passage_%s', held.collection_id))
    ) end;
    words text[];
    asked_times integer[];
    rarities double precision[];
    places bigint[];  -- of each word in the order of what they can add
    counts bigint[];  -- entries of the words up to each place
    rests double precision[];  -- what the words after each place can add
    read integer;
    enough integer;
    bar double precision := 0;
    buckets smallint[];
    found integer[];
    best integer[];
    scores double precision[];
begin
    select array_agg(word order by word), array_agg(times order by word), array_agg(rarity order by word), array_agg(place order by word),
           array_agg(counted order by place), array_agg(rest order by place)
    into words, asked_times, rarities, places, counts, rests
    from (
        select rare.word, rare.times, rare.rarity, row_number() over most as place, sum(rare.passages) over most as counted,
               coalesce(sum(2.2 * rare.times * rare.rarity) over (most rows between 1 following and unbounded following), 0) as rest
        from (
            select listed.word, listed.times, listed.passages,
                   ln(1 + (greatest(held_passages - listed.passages, 0) + 0.5) / (listed.passages + 0.5))::double precision
                       as rarity
            from (
                select entry.lexeme as word, cardinality(entry.positions) as times,
                       (
                           select sum(cardinality(posting.passage_ids))
                           from pgretrieval.word_entries(held.collection_id, entry.lexeme) as posting
                       ) as passages
                from unnest(asked) as entry
                offset 0
            ) as listed
            where listed.passages > 0
        ) as rare
        window most as (order by rare.times * rare.rarity desc, rare.word)
    ) as worth;
    if words is null then
        return;
    end if;

    if share < 0.05 and not distributed then
        select array_agg(passage.passage_id) into found
        from pgretrieval.passage
        where passage.collection_id = held.collection_id
          and (filter is null or passage.metadata @@ filter) and (among is null or passage.key = any(among));
        return query
        select scored.bucket, scored.passage_id, scored.score::real
        from pgretrieval.score_words(held.collection_id, words, asked_times, rarities, found) as scored
        order by scored.score desc, scored.passage_id
        limit n;
        return;
    end if;

    read := coalesce(
        (
            select min(place) from unnest(counts) with ordinality as word (counted, place)
            where counted >= greatest(4.0 * n / nullif(share, 0), 4000) and not distributed
        ),
        cardinality(words)
    );
    loop
        select array_agg(summed.bucket), array_agg(summed.passage_id), array_agg(summed.score) into buckets, found, scores
        from (
            select listed.bucket, entry.passage_id, sum(listed.times * entry.weight * listed.rarity) as score
            from (
                select posting.bucket, posting.passage_ids, posting.weights, asked.times, asked.rarity
                from unnest(words, asked_times, rarities, places) as asked (word, times, rarity, place)
                cross join lateral (
                    select * from pgretrieval.word_entries(held.collection_id, asked.word) offset 0
                ) as posting
                where asked.place <= read
                offset 0
            ) as listed
            cross join lateral unnest(listed.passage_ids, listed.weights) as entry (passage_id, weight)
            group by listed.bucket, entry.passage_id
        ) as summed;
        exit when read = cardinality(words) or bar > 0;
        best := array(
            select ranked.passage_id
            from (
                select * from unnest(buckets, found, scores) as listed (bucket, passage_id, score) order by score desc, passage_id
            ) as ranked
            cross join lateral (
                select from pgretrieval.passage
                where passage.collection_id = held.collection_id
                  and passage.bucket = ranked.bucket and passage.passage_id = ranked.passage_id
                  and (filter is null or passage.metadata @@ filter) and (among is null or passage.key = any(among))
                offset 0
            ) as allowed
            limit n
        );
        if cardinality(best) < n then
            read := cardinality(words);
            continue;
        end if;
        bar := (
            select min(scored.score) * (1 - 1e-9)  -- sums of other orders differ by less
            from pgretrieval.score_words(held.collection_id, words, asked_times, rarities, best) as scored
        );
        enough := (select min(word.place) from unnest(rests) with ordinality as word (rest, place) where word.rest < bar);
        exit when enough <= read;
        read := enough;
    end loop;
    if read < cardinality(words) then
        found := array(
            select listed.passage_id from unnest(found, scores) as listed (passage_id, score) where listed.score + rests[read] >= bar
        );
        select array_agg(scored.bucket), array_agg(scored.passage_id), array_agg(scored.score) into buckets, found, scores
        from pgretrieval.score_words(held.collection_id, words, asked_times, rarities, found) as scored;
    end if;
    if distributed then
        return query
        select passage.bucket, passage.passage_id, ranked.score::real
        from unnest(buckets, found, scores) as ranked (bucket, passage_id, score)
        join pgretrieval.passage
            on passage.collection_id = held.collection_id
            and passage.bucket = ranked.bucket and passage.passage_id = ranked.passage_id
        where (filter is null or passage.metadata @@ filter) and (among is null or passage.key = any(among))
        order by ranked.score desc, passage.passage_id
        limit n;
        return;
    end if;
    return query
    select ranked.bucket, ranked.passage_id, ranked.score::real
    from (
        select * from unnest(buckets, found, scores) as listed (bucket, passage_id, score) order by score desc, passage_id
    ) as ranked
    cross join lateral (
        select from pgretrieval.passage
        where passage.collection_id = held.collection_id
          and passage.bucket = ranked.bucket and passage.passage_id = ranked.passage_id
          and (filter is null or passage.metadata @@ filter) and (among is null or passage.key = any(among))
        offset 0  -- one index look-up each, in this order; a join would read all passages
    ) as allowed
    order by ranked.score desc, ranked.passage_id
    limit n;
end
$function$;
