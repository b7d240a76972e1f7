-- Finds rows that belong to nothing: rows of missing passages and codebooks, and, unless a rebuild is under way, which drops them, rows
-- of inactive codebooks and of other encoders.
create or replace function pgretrieval.check_orphans(held pgretrieval.collection)
returns table (rule text, id text, detail text)
language sql stable
begin atomic
    select 'orphan_row', format('passage_id %s', kept.passage_id), format('a row of %s; there is no such passage', kept.relation)
    from (
        select 'token_code' as relation, token_code.bucket, token_code.passage_id
        from pgretrieval.token_code
        where token_code.collection_id = (held).collection_id and token_code.codebook_id = (held).codebook_id
        union all
        select 'token_vector', token_vector.bucket, token_vector.passage_id
        from pgretrieval.token_vector
        where token_vector.collection_id = (held).collection_id and token_vector.encoding = (held).encoding
        union all
        select 'dense_vector', dense_vector.bucket, dense_vector.passage_id
        from pgretrieval.dense_vector
        where dense_vector.collection_id = (held).collection_id and dense_vector.encoding = (held).dense_encoding
        union all
        select 'proxy', proxy.bucket, proxy.passage_id
        from pgretrieval.proxy
        where proxy.codebook_id = (held).codebook_id
    ) as kept
    where not exists (
        select from pgretrieval.passage
        where passage.collection_id = (held).collection_id
          and passage.bucket = kept.bucket and passage.passage_id = kept.passage_id
    )
    union all
    select 'orphan_row', format('codebook %s', kept.codebook_id),
           format('%s rows of %s; there is no such codebook', kept.counted, kept.relation)
    from (
        select 'centroid' as relation, centroid.codebook_id, count(*) as counted
        from pgretrieval.centroid where centroid.collection_id = (held).collection_id group by centroid.codebook_id
        union all
        select 'token_code', token_code.codebook_id, count(*)
        from pgretrieval.token_code where token_code.collection_id = (held).collection_id group by token_code.codebook_id
        union all
        select 'posting', posting.codebook_id, count(*)
        from pgretrieval.posting where posting.collection_id = (held).collection_id group by posting.codebook_id
        union all
        select 'posting_code', posting_code.codebook_id, count(*)
        from pgretrieval.posting_code where posting_code.collection_id = (held).collection_id group by posting_code.codebook_id
        union all
        select 'segment', segment.codebook_id, count(*)
        from pgretrieval.segment where segment.collection_id = (held).collection_id group by segment.codebook_id
    ) as kept
    where not exists (
        select from pgretrieval.codebook
        where codebook.codebook_id = kept.codebook_id and codebook.collection_id = (held).collection_id
    )
    union all
    select 'old_codebook', format('codebook %s', codebook.codebook_id),
           format('the active one is %s, and no rebuild is under way', coalesce((held).codebook_id::text, 'none'))
    from pgretrieval.codebook
    where codebook.collection_id = (held).collection_id and codebook.codebook_id is distinct from (held).codebook_id
      and not exists (select from pgretrieval.rebuild where rebuild.collection_id = (held).collection_id)
    union all
    select 'old_vectors', format('encoding %s', kept.encoding),
           format('%s rows of %s; those that are used have %s, and no rebuild is under way', kept.counted, kept.relation, kept.used)
    from (
        select 'token_vector' as relation, token_vector.encoding, (held).encoding as used, count(*) as counted
        from pgretrieval.token_vector where token_vector.collection_id = (held).collection_id group by token_vector.encoding
        union all
        select 'dense_vector', dense_vector.encoding, (held).dense_encoding, count(*)
        from pgretrieval.dense_vector where dense_vector.collection_id = (held).collection_id group by dense_vector.encoding
    ) as kept
    where kept.encoding <> kept.used
      and not exists (select from pgretrieval.rebuild where rebuild.collection_id = (held).collection_id);
end;
