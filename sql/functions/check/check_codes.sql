-- Checks that codes have as many tokens as their passages, or none if codes are kept by centroid only, as many as vectors_per_passage
-- says, and as many bytes as the codebook's bits require. After a change of the encoder tokens are counted again, passage by passage;
-- until then old counts may remain.
create or replace function pgretrieval.check_codes(held pgretrieval.collection)
returns table (rule text, id text, detail text)
language sql stable
begin atomic
    select 'wrong_token_count', passage.key,
           format('%s tokens; codes have %s bytes of centroid numbers and %s of residuals, %s and %s were right',
                  passage.token_count, length(token_code.centroid_ids), length(token_code.residuals) + length(token_code.tail),
                  codebook.id_bytes * kept.tokens, kept.tokens * ((codebook.dim * codebook.bits + 7) / 8))
    from pgretrieval.passage
    join pgretrieval.token_code
        on token_code.collection_id = (held).collection_id and token_code.codebook_id = (select (held).codebook_id)
        and token_code.bucket = passage.bucket and token_code.passage_id = passage.passage_id
    join pgretrieval.codebook on codebook.codebook_id = (held).codebook_id
    cross join lateral (
        select case when 'maxsim' in ((held).scorer, (held).rerank) then passage.token_count else 0 end as tokens
    ) as kept
    where passage.collection_id = (held).collection_id
      and not exists (
          select from pgretrieval.rebuild
          where rebuild.collection_id = (held).collection_id and rebuild.switched and rebuild.encoder is not null
            and passage.passage_id > rebuild.recounted
      )
      and (length(token_code.centroid_ids) <> codebook.id_bytes * kept.tokens
           or length(token_code.residuals) + length(token_code.tail) <> kept.tokens * ((codebook.dim * codebook.bits + 7) / 8))
    union all
    select 'wrong_vectors_per_passage', passage.key,
           format('codes of %s vectors, every passage has %s', length(token_code.centroid_ids) / codebook.id_bytes, (held).vectors_per_passage)
    from pgretrieval.passage
    join pgretrieval.token_code
        on token_code.collection_id = (held).collection_id and token_code.codebook_id = (select (held).codebook_id)
        and token_code.bucket = passage.bucket and token_code.passage_id = passage.passage_id
    join pgretrieval.codebook on codebook.codebook_id = (held).codebook_id
    where passage.collection_id = (held).collection_id
      and (select 'maxsim' in ((held).scorer, (held).rerank))
      and length(token_code.centroid_ids) <> codebook.id_bytes * (select (held).vectors_per_passage);
end;
