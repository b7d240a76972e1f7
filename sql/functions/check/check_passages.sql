-- Checks that each passage is in its bucket and has what searches need: codes and a proxy under the active codebook, and the vectors that are kept.
-- Conditions on the collection as a whole are in sub-selects: a condition that is known to be false makes the planner forget the
-- partition, and lock those of all collections.
create or replace function pgretrieval.check_passages(held pgretrieval.collection)
returns table (rule text, id text, detail text)
language sql stable
begin atomic
    select 'missing_codes', passage.key, format('no codes under codebook %s', (held).codebook_id)
    from pgretrieval.passage
    where passage.collection_id = (held).collection_id and (select (held).codebook_id is not null) and not exists (
        select from pgretrieval.token_code
        where token_code.collection_id = (held).collection_id and token_code.codebook_id = (select (held).codebook_id)
          and token_code.bucket = passage.bucket and token_code.passage_id = passage.passage_id
    )
    union all
    select 'wrong_bucket', passage.key,
           format('bucket %s; by its id it belongs in %s of %s', passage.bucket, pgretrieval.bucket_of(passage.key, (held).buckets), (held).buckets)
    from pgretrieval.passage
    where passage.collection_id = (held).collection_id and passage.bucket <> pgretrieval.bucket_of(passage.key, (held).buckets)
    union all
    select 'missing_proxy', passage.key, format('no proxy under codebook %s', (held).codebook_id)
    from pgretrieval.passage
    where passage.collection_id = (held).collection_id
      and exists (select from pgretrieval.proxy_model where proxy_model.codebook_id = (held).codebook_id)
      and not exists (
          select from pgretrieval.proxy
          where proxy.codebook_id = coalesce((held).codebook_id, 0) and proxy.bucket = passage.bucket and proxy.passage_id = passage.passage_id
      )
    union all
    select 'missing_token_vectors', passage.key,
           case when (held).keep_vectors then 'the collection keeps token vectors' else 'the collection is not built yet' end
    from pgretrieval.passage
    where passage.collection_id = (held).collection_id and (select (held).keep_vectors or (held).codebook_id is null)
      and (select (held).encoder ->> 'kind' is distinct from 'none') and not exists (
        select from pgretrieval.token_vector
        where token_vector.collection_id = (held).collection_id and token_vector.encoding = (held).encoding
          and token_vector.bucket = passage.bucket and token_vector.passage_id = passage.passage_id
    )
    union all
    select 'missing_dense_vector', passage.key, 'the collection keeps dense vectors'
    from pgretrieval.passage
    where passage.collection_id = (held).collection_id
      and (select (held).dense = 'kept' or (held).dense = 'auto' and not (held).given_vectors) and not exists (
        select from pgretrieval.dense_vector
        where dense_vector.collection_id = (held).collection_id and dense_vector.encoding = (held).dense_encoding
          and dense_vector.bucket = passage.bucket and dense_vector.passage_id = passage.passage_id
    );
end;
