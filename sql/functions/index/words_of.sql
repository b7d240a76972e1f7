-- The words of some passages, or of all, as the text search configuration makes them, and how often each occurs; an occurrence in the
-- title counts `title_weight` times. word_vector says what of very long texts is read.
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
            case when coalesce(octet_length(passage.title), 0) + octet_length(passage.body) <= 200000
                 then setweight(pgretrieval.text_words(language, coalesce(passage.title, '')), 'A')
                      || pgretrieval.text_words(language, passage.body)
                 else (pgretrieval.word_vector(language, passage.title, passage.body)).words end
        ) as entry
        where passage.collection_id = in_collection and (in_passages is null or passage.passage_id = any(in_passages))
    ) as counted
    where counted.occurrences > 0;
end;
