-- The words of some passages, or of all, as the text search configuration makes them, and how often each occurs. Words of the title
-- count like those of the body. Of very long texts the first 250,000 characters are read; more may not fit a tsvector.
create or replace function pgretrieval.words_of(in_collection integer, language regconfig, in_passages integer[] default null)
returns table (bucket smallint, passage_id integer, word text, occurrences integer)
language sql stable
begin atomic
    select passage.bucket, passage.passage_id, entry.lexeme, cardinality(entry.positions)
    from pgretrieval.passage
    cross join lateral unnest(to_tsvector(language, left(concat_ws(' ', passage.title, passage.body), 250000))) as entry
    where passage.collection_id = in_collection and (in_passages is null or passage.passage_id = any(in_passages));
end;
