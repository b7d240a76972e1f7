-- Checks that postings, over all segments, list each passage once for every centroid of its codes, and nothing else but removed
-- passages. Passages without codes are not reported here, and nothing is under row-level security, which hides postings.
create or replace function pgretrieval.check_postings(held pgretrieval.collection)
returns table (rule text, id text, detail text)
language sql stable
begin atomic
    select wrong.rule, coalesce(passage.key, format('passage_id %s', compared.passage_id)), wrong.detail
    from (
        select bucket, passage_id, coded.centroid_ids as coded, listed.centroid_ids as listed
        from (
            select token_code.bucket, token_code.passage_id,
                   array(
                       select distinct pgretrieval.centroid_at(token_code.centroid_ids, place, codebook.id_bytes)
                       from generate_series(0, length(token_code.centroid_ids) / codebook.id_bytes - 1) as place
                       order by 1
                   ) as centroid_ids
            from pgretrieval.token_code
            join pgretrieval.codebook on codebook.codebook_id = token_code.codebook_id
            where token_code.collection_id = (held).collection_id and token_code.codebook_id = (held).codebook_id
              and (select (held).scorer = 'maxsim')  -- a constant would take the other conditions with it, and read all collections
        ) as coded
        full join (
            select posting.bucket, entry.passage_id, array_agg(posting.centroid_id order by posting.centroid_id) as centroid_ids
            from pgretrieval.posting
            cross join lateral unnest(posting.passage_ids) as entry (passage_id)
            where posting.collection_id = (held).collection_id and posting.codebook_id = (held).codebook_id
            group by posting.bucket, entry.passage_id
        ) as listed using (bucket, passage_id)
        where coded.centroid_ids is distinct from listed.centroid_ids
           or coded.centroid_ids[1] < 0
           or coded.centroid_ids[cardinality(coded.centroid_ids)] >= (
               select codebook.centroid_count from pgretrieval.codebook where codebook.codebook_id = (held).codebook_id
           )
    ) as compared
    left join pgretrieval.passage
        on passage.collection_id = (held).collection_id
        and passage.bucket = compared.bucket and passage.passage_id = compared.passage_id
    cross join lateral (
        select 'missing_posting' as rule, format('not listed for centroid %s', centroid_id) as detail
        from unnest(compared.coded) as centroid_id
        where passage.key is not null and centroid_id <> all (coalesce(compared.listed, '{}'))
        union all
        select 'stray_posting', format('listed for centroid %s, which no token has', centroid_id)
        from unnest(compared.listed) as centroid_id
        where passage.key is not null and compared.coded is not null and centroid_id <> all (compared.coded)
        group by centroid_id
        union all
        select 'repeated_posting', format('listed %s times for centroid %s', count(*), centroid_id)
        from unnest(compared.listed) as centroid_id
        where passage.key is not null
        group by centroid_id having count(*) > 1
        union all
        select 'unknown_centroid', format('a token has centroid %s, the codebook %s centroids', centroid_id, codebook.centroid_count)
        from unnest(compared.coded) as centroid_id
        join pgretrieval.codebook on codebook.codebook_id = (held).codebook_id
        where passage.key is not null and centroid_id not between 0 and codebook.centroid_count - 1
        union all
        select 'orphan_posting', format('listed for %s centroids; there is no such passage', cardinality(compared.listed))
        where passage.key is null and compared.listed is not null and not exists (
            select from pgretrieval.removed_passage
            where removed_passage.collection_id = (held).collection_id
              and removed_passage.bucket = compared.bucket and removed_passage.passage_id = compared.passage_id
        )
    ) as wrong
    where not row_security_active('pgretrieval.passage');
end;
