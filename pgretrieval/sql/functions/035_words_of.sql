-- The words of some passages, or of all, as the text search configuration makes them, and how often each occurs; an occurrence in the
-- title counts `title_weight` times. Of very long texts the first 250,000 characters are read; more may not fit a tsvector.
create or replace function pgretrieval.words_of(
    in_collection integer, language regconfig, title_weight real, in_passages integer[] default null
) returns table (bucket smallint, passage_id integer, word text, occurrences real)
language sql stable
begin atomic
    select counted.bucket, counted.passage_id, counted.word, counted.occurrences
    from (
        select passage.bucket, passage.passage_id, entry.lexeme as word,
               (cardinality(entry.positions)
                + (title_weight - 1) * cardinality(array_positions(entry.weights, 'A')))::real as occurrences
        from pgretrieval.passage
        cross join lateral unnest(
            setweight(to_tsvector(language, left(coalesce(passage.title, ''), 250000)), 'A')
            || to_tsvector(language, left(passage.body, 250000 - length(left(coalesce(passage.title, ''), 250000))))
        ) as entry
        where passage.collection_id = in_collection and (in_passages is null or passage.passage_id = any(in_passages))
    ) as counted
    where counted.occurrences > 0;
end;
