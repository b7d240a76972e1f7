-- Checks tokens that are stored by centroid: over all segments each is listed once, with the positions of each passage from 0 on,
-- residuals of the codebook's width, and the same codes as by passage if these are stored too; none are listed of other passages than
-- removed ones. Passages without codes are not reported here, and nothing is under row-level security, which hides postings.
create or replace function pgretrieval.check_posting_codes(held pgretrieval.collection)
returns table (rule text, id text, detail text)
language sql stable
begin atomic
    with listed as (
        select posting.bucket, posting.centroid_id, entry.passage_id, entry.position,
               substr(posting.residuals, 1 + codebook.width * (entry.place::integer - 1), codebook.width) as packed
        from (
            select posting_code.bucket, posting_code.centroid_id, posting_code.passage_ids, posting_code.positions,
                   substr(posting_code.residuals, 1) as residuals
            from pgretrieval.posting_code
            where posting_code.collection_id = (held).collection_id and posting_code.codebook_id = (select (held).codebook_id)
            offset 0
        ) as posting
        cross join (
            select (codebook.dim * codebook.bits + 7) / 8 as width
            from pgretrieval.codebook where codebook.codebook_id = (held).codebook_id
        ) as codebook
        cross join lateral unnest(posting.passage_ids, posting.positions) with ordinality as entry (passage_id, position, place)
        where entry.passage_id is not null
    ),
    known as (
        select passage.bucket, passage.passage_id, passage.key,
               -- After a change of the encoder tokens are counted anew, passage by passage.
               case when passage.passage_id <= coalesce(recounting.recounted, passage.passage_id) then passage.token_count end
                   as token_count
        from pgretrieval.passage
        join pgretrieval.token_code
            on token_code.collection_id = (held).collection_id and token_code.codebook_id = (select (held).codebook_id)
            and token_code.bucket = passage.bucket and token_code.passage_id = passage.passage_id
        left join pgretrieval.rebuild as recounting
            on recounting.collection_id = (held).collection_id and recounting.switched and recounting.encoder is not null
        where passage.collection_id = (held).collection_id and (select (held).scorer <> 'maxsim')
          and (select not row_security_active('pgretrieval.passage'))
    )
    select 'wrong_length', format('centroid %s', posting_code.centroid_id),
           format('%s passages, %s positions and %s bytes of residuals in segment %s; a token has %s bytes',
                  cardinality(posting_code.passage_ids), cardinality(posting_code.positions), length(posting_code.residuals),
                  posting_code.segment, (codebook.dim * codebook.bits + 7) / 8)
    from pgretrieval.posting_code
    join pgretrieval.codebook on codebook.codebook_id = posting_code.codebook_id
    where posting_code.collection_id = (held).collection_id and posting_code.codebook_id = (select (held).codebook_id)
      and (cardinality(posting_code.passage_ids) <> cardinality(posting_code.positions)
           or length(posting_code.residuals) <> cardinality(posting_code.passage_ids) * ((codebook.dim * codebook.bits + 7) / 8))
    union all
    select 'unknown_centroid', format('centroid %s', posting_code.centroid_id),
           format('tokens are listed for it in segment %s; the codebook has %s centroids', posting_code.segment, codebook.centroid_count)
    from pgretrieval.posting_code
    join pgretrieval.codebook on codebook.codebook_id = posting_code.codebook_id
    where posting_code.collection_id = (held).collection_id and posting_code.codebook_id = (select (held).codebook_id)
      and posting_code.centroid_id not between 0 and codebook.centroid_count - 1
    union all
    select 'missing_token', known.key,
           format('%s tokens, of which %s are listed', known.token_count, coalesce(counted.distinct_positions, 0))
    from known
    left join (
        select listed.bucket, listed.passage_id, count(distinct listed.position) as distinct_positions
        from listed
        join known using (bucket, passage_id)
        where listed.position between 0 and coalesce(known.token_count, listed.position + 1) - 1
        group by listed.bucket, listed.passage_id
    ) as counted using (bucket, passage_id)
    where coalesce(counted.distinct_positions, 0) < coalesce(known.token_count, 1)
    union all
    select 'stray_token', known.key, format('position %s is listed for centroid %s; it has %s tokens',
                                            listed.position, listed.centroid_id, known.token_count)
    from listed
    join known using (bucket, passage_id)
    where listed.position not between 0 and coalesce(known.token_count, listed.position + 1) - 1
    union all
    select 'repeated_token', known.key, format('position %s is listed %s times', listed.position, count(*))
    from listed
    join known using (bucket, passage_id)
    group by known.key, listed.bucket, listed.passage_id, listed.position having count(*) > 1
    union all
    select 'differing_code', known.key,
           format('position %s has another code by centroid than by passage, for centroid %s', listed.position, listed.centroid_id)
    from listed
    join known using (bucket, passage_id)
    join pgretrieval.token_code
        on token_code.collection_id = (held).collection_id and token_code.codebook_id = (select (held).codebook_id)
        and token_code.bucket = listed.bucket and token_code.passage_id = listed.passage_id
    join pgretrieval.codebook on codebook.codebook_id = token_code.codebook_id
    where (select (held).rerank = 'maxsim')
      and listed.position between 0 and length(token_code.centroid_ids) / codebook.id_bytes - 1
      and (pgretrieval.centroid_at(token_code.centroid_ids, listed.position, codebook.id_bytes) <> listed.centroid_id
           or substr(token_code.residuals, 1 + length(listed.packed) * listed.position, length(listed.packed))
              || substr(token_code.tail, 1 + length(listed.packed) * listed.position - length(token_code.residuals), length(listed.packed))
              <> listed.packed)
    union all
    select 'orphan_token', format('passage_id %s', listed.passage_id),
           format('%s tokens are listed; there is no such passage', count(*))
    from listed
    where not exists (
              select from pgretrieval.passage
              where passage.collection_id = (held).collection_id
                and passage.bucket = listed.bucket and passage.passage_id = listed.passage_id
          )
      and not exists (
              select from pgretrieval.removed_passage
              where removed_passage.collection_id = (held).collection_id
                and removed_passage.bucket = listed.bucket and removed_passage.passage_id = listed.passage_id
          )
    group by listed.bucket, listed.passage_id;
end;
