-- Checks the records of changes against the tables: segments, removed passages, the sequence of ids.
create or replace function pgretrieval.check_changes(held pgretrieval.collection)
returns table (rule text, id text, detail text)
language sql stable
begin atomic
    select 'removed_passage_there', passage.key, format('passage_id %s is noted as removed', passage.passage_id)
    from pgretrieval.removed_passage
    join pgretrieval.passage using (collection_id, bucket, passage_id)
    where removed_passage.collection_id = (held).collection_id
    union all
    select 'wrong_segment', format('segment %s', found.segment),
           format('%s rows of postings; %s are noted%s', coalesce(found.counted, 0), coalesce(found.noted::text, 'none'),
                  case when found.compacting then ', and it is being merged' end)
    from (
        select segment, counted.counted, noted.posting_rows as noted, noted.compacting,
               noted.passages = 0 and counted.counted is null as of_words  -- which a rebuild leaves as they are
        from (
            select posting.segment, count(*) as counted
            from (
                select posting.collection_id, posting.codebook_id, posting.segment from pgretrieval.posting
                union all
                select posting_code.collection_id, posting_code.codebook_id, posting_code.segment from pgretrieval.posting_code
            ) as posting
            where posting.collection_id = (held).collection_id and posting.codebook_id = (held).codebook_id and posting.segment > 0
            group by posting.segment
        ) as counted
        full join (
            select segment.segment, segment.passages, segment.posting_rows, segment.compacting
            from pgretrieval.segment
            where segment.collection_id = (held).collection_id and segment.codebook_id = (held).codebook_id and segment.segment > 0
        ) as noted using (segment)
    ) as found
    where found.noted is null or found.counted > found.noted
       or coalesce(found.counted, 0) < found.noted and not found.compacting and not found.of_words
    union all
    select 'wrong_segment', format('segment %s', word_posting.segment),
           format('%s rows of postings of words, and it is not noted', count(*))
    from pgretrieval.word_posting
    where word_posting.collection_id = (held).collection_id and word_posting.segment > 0
      and (held).codebook_id is not null and (held).mean_words is not null and not exists (
        select from pgretrieval.segment
        where segment.collection_id = (held).collection_id and segment.codebook_id = (held).codebook_id
          and segment.segment = word_posting.segment
    )
    group by word_posting.segment
    union all
    select 'sequence_behind', null,
           format('the largest passage_id is %s, the sequence is at %s', used.most, coalesce(sequences.last_value::text, 'none'))
    from (
        select max(passage.passage_id) as most from pgretrieval.passage where passage.collection_id = (held).collection_id
    ) as used
    left join pg_catalog.pg_sequences as sequences
        on sequences.schemaname = 'pgretrieval' and sequences.sequencename = 'passage_id_' || (held).collection_id
    where used.most > coalesce(sequences.last_value, 0)
      and coalesce(
          has_sequence_privilege(to_regclass('pgretrieval.passage_id_' || (held).collection_id)::oid, 'usage'), true
      );
end;
