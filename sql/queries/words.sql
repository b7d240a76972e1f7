-- name: text_search
select rank, id, score, title, body, metadata
from pgretrieval.text_search(%(name)s, %(query_text)s, %(k)s, %(filter)s::jsonpath, {among})

-- name: marked
select pg_catalog.ts_headline(%(language)s::regconfig, given.text, asked.words, %(options)s)
from (
    select pg_catalog.string_agg(pg_catalog.quote_literal(lexeme), ' | ')::tsquery as words
    from pg_catalog.unnest(pgretrieval.text_words(%(language)s::regconfig, %(query_text)s))
) as asked
cross join pg_catalog.unnest(%(texts)s::text[]) with ordinality as given (text, place)
order by given.place
