-- Checks that postings of words, over all segments, list each passage once for every word of its text, and nothing else but removed
-- passages. Until a build has measured the texts nothing reads them. Under row-level security, which hides postings, nothing is
-- reported.
create or replace function pgretrieval.check_words(held pgretrieval.collection)
returns table (rule text, id text, detail text)
language sql stable
begin atomic
    select wrong.rule, coalesce(passage.key, format('passage_id %s', compared.passage_id)), wrong.detail
    from (
        select bucket, passage_id, spoken.words as spoken, listed.words as listed
        from (
            select word_of.bucket, word_of.passage_id, array_agg(word_of.word order by word_of.word collate "C") as words
            from pgretrieval.words_of(
                (held).collection_id, coalesce((held).language, 'simple')::regconfig, (held).title_weight
            ) as word_of
            where (held).language is not null and (held).mean_words is not null
            group by word_of.bucket, word_of.passage_id
        ) as spoken
        full join (
            select entry.bucket, entry.passage_id, array_agg(entry.word order by entry.word collate "C") as words
            from (
                select word_posting.bucket, listed.passage_id, coalesce(listed.word, word_posting.word) as word
                from pgretrieval.word_posting
                cross join lateral unnest(word_posting.passage_ids, word_posting.words) as listed (passage_id, word)
                where word_posting.collection_id = (held).collection_id and ((held).mean_words is not null or (held).language is null)
            ) as entry
            where entry.passage_id is not null
            group by entry.bucket, entry.passage_id
        ) as listed using (bucket, passage_id)
        where spoken.words is distinct from listed.words
    ) as compared
    left join pgretrieval.passage
        on passage.collection_id = (held).collection_id
        and passage.bucket = compared.bucket and passage.passage_id = compared.passage_id
    cross join lateral (
        select 'missing_word' as rule, format('not listed for %s', quote_literal(word)) as detail
        from unnest(compared.spoken) as word
        where word <> all (coalesce(compared.listed, '{}'))
        union all
        select 'stray_word', format('listed for %s, which is not in its text', quote_literal(word))
        from unnest(compared.listed) as word
        where passage.key is not null and word <> all (coalesce(compared.spoken, '{}'))
        group by word
        union all
        select 'repeated_word', format('listed %s times for %s', count(*), quote_literal(word))
        from unnest(compared.listed) as word
        where passage.key is not null
        group by word having count(*) > 1
        union all
        select 'orphan_word', format('listed for %s words; there is no such passage', cardinality(compared.listed))
        where passage.key is null and not exists (
            select from pgretrieval.removed_passage
            where removed_passage.collection_id = (held).collection_id
              and removed_passage.bucket = compared.bucket and removed_passage.passage_id = compared.passage_id
        )
    ) as wrong
    where not row_security_active('pgretrieval.passage')
    union all
    select 'bad_word_weights', coalesce(array_to_string(word_posting.words, ', '), quote_literal(word_posting.word)),
           format('%s passages and %s weights in segment %s; weights must be finite and above 0',
                  cardinality(word_posting.passage_ids), cardinality(word_posting.weights), word_posting.segment)
    from pgretrieval.word_posting
    where word_posting.collection_id = (held).collection_id
      and (cardinality(word_posting.passage_ids) <> cardinality(word_posting.weights)
           or cardinality(word_posting.passage_ids) <> cardinality(word_posting.words)
           or exists (select from unnest(word_posting.weights) as weight where (weight > 0 and weight < 'infinity') is not true));
end;
