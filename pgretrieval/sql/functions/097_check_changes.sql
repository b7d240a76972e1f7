-- Whether what changes note down agrees with what there is: segments, removed passages, a compaction under way, the sequence of ids.
create or replace function pgretrieval.check_changes(held pgretrieval.collection)
returns table (rule text, id text, detail text)
language sql stable
begin atomic
    select 'removed_passage_there', passage.key, format('passage_id %s is noted as removed', passage.passage_id)
    from pgretrieval.removed_passage
    join pgretrieval.passage using (collection_id, bucket, passage_id)
    where removed_passage.collection_id = (held).collection_id
    union all
    select 'stale_compaction', format('codebook %s', compaction.codebook_id),
           format('a compaction is under way of a codebook that is not active; it is %s', coalesce((held).codebook_id::text, 'none'))
    from pgretrieval.compaction
    where compaction.collection_id = (held).collection_id and compaction.codebook_id is distinct from (held).codebook_id
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
