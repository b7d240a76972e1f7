-- Checks that stored vectors have the collection's dimension and, unless it keeps lengths, unit length up to half precision; and that a
-- passage has as many token vectors as tokens, and as vectors_per_passage says.
create or replace function pgretrieval.check_vectors(held pgretrieval.collection)
returns table (rule text, id text, detail text)
language sql stable
begin atomic
    select wrong.rule, measured.key, wrong.detail
    from (
        select passage.key, each.*,
               -- After a change of the encoder tokens are counted anew, passage by passage.
               case when passage.passage_id <= coalesce(recounting.recounted, passage.passage_id) then passage.token_count end
                   as token_count
        from pgretrieval.passage
        join pgretrieval.token_vector
            on token_vector.collection_id = (held).collection_id and token_vector.encoding = (held).encoding
            and token_vector.bucket = passage.bucket and token_vector.passage_id = passage.passage_id
        cross join lateral (
            select count(*) as tokens, min(@extschema:vector@.vector_dims(given.vector)) as least_dim, max(@extschema:vector@.vector_dims(given.vector)) as most_dim,
                   min(@extschema:vector@.l2_norm(given.vector)) as shortest, max(@extschema:vector@.l2_norm(given.vector)) as longest
            from unnest(token_vector.vectors) as given (vector)
        ) as each
        left join pgretrieval.rebuild as recounting
            on recounting.collection_id = (held).collection_id and recounting.switched and recounting.encoder is not null
        where passage.collection_id = (held).collection_id
    ) as measured
    cross join lateral (
        select 'wrong_token_count' as rule, format('%s tokens, %s token vectors', measured.token_count, measured.tokens) as detail
        where measured.tokens <> measured.token_count
        union all
        select 'wrong_vectors_per_passage', format('%s token vectors, every passage has %s', measured.tokens, (held).vectors_per_passage)
        where measured.tokens <> (held).vectors_per_passage
        union all
        select 'wrong_dimension', format('token vectors have %s to %s dimensions, the collection %s',
                                         measured.least_dim, measured.most_dim, coalesce((held).dim::text, 'none'))
        where (measured.least_dim, measured.most_dim) is distinct from ((held).dim, (held).dim)
        union all
        select 'not_unit_length', format('token vectors have lengths of %s to %s',
                                         round(measured.shortest::numeric, 4), round(measured.longest::numeric, 4))
        where (held).unit_vectors and not (measured.shortest >= 0.998 and measured.longest <= 1.002)
    ) as wrong
    union all
    select wrong.rule, passage.key, wrong.detail
    from pgretrieval.passage
    join pgretrieval.dense_vector
        on dense_vector.collection_id = (held).collection_id and dense_vector.encoding = (held).dense_encoding
        and dense_vector.bucket = passage.bucket and dense_vector.passage_id = passage.passage_id
    cross join lateral (
        select 'wrong_dimension' as rule, format('the dense vector has %s dimensions, those of the collection %s',
                                                 @extschema:vector@.vector_dims(dense_vector.vector), coalesce((held).dense_dim::text, 'none')) as detail
        where @extschema:vector@.vector_dims(dense_vector.vector) is distinct from (held).dense_dim
        union all
        select 'not_unit_length', format('the dense vector has a length of %s', round(@extschema:vector@.l2_norm(dense_vector.vector)::numeric, 4))
        where not (@extschema:vector@.l2_norm(dense_vector.vector) between 0.998 and 1.002)
    ) as wrong
    where passage.collection_id = (held).collection_id;
end;
