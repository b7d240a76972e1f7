-- Checks that codebooks fit the collection, have as many numbers as their bits require, levels of whole steps, and centroids of unit
-- length, up to half precision, unless the collection keeps lengths.
create or replace function pgretrieval.check_codebook(held pgretrieval.collection)
returns table (rule text, id text, detail text)
language sql stable
begin atomic
    select 'bad_codebook', format('codebook %s', (held).codebook_id), 'the active codebook is not one of this collection'
    where (held).codebook_id is not null and not exists (
        select from pgretrieval.codebook
        where codebook.codebook_id = (held).codebook_id and codebook.collection_id = (held).collection_id
    )
    union all
    select wrong.rule, format('codebook %s', codebook.codebook_id), wrong.detail
    from pgretrieval.codebook
    cross join lateral (
        select count(*) as centroids, min(centroid.centroid_id) as first, max(centroid.centroid_id) as last,
               min(@extschema:vector@.vector_dims(centroid.vector)) as least_dim, max(@extschema:vector@.vector_dims(centroid.vector)) as most_dim
        from pgretrieval.centroid
        where centroid.collection_id = (held).collection_id and centroid.codebook_id = codebook.codebook_id
    ) as measured
    cross join lateral (
        select 'wrong_dimension' as rule, format('%s dimensions, centroids %s to %s, the collection %s',
                                                 codebook.dim, measured.least_dim, measured.most_dim, (held).dim) as detail
        where (measured.least_dim, measured.most_dim) is distinct from (codebook.dim, codebook.dim)
           or codebook.codebook_id = (held).codebook_id and codebook.dim is distinct from (held).dim
        union all
        select 'bad_codebook', format('%s centroids with numbers %s to %s; there were %s at the training',
                                      measured.centroids, measured.first, measured.last, codebook.centroid_count)
        where (measured.centroids, measured.first, measured.last)
            is distinct from (codebook.centroid_count::bigint, 0, codebook.centroid_count - 1)
        union all
        select 'bad_codebook', format('%s bits, the collection %s', codebook.bits, (held).bits)
        where codebook.bits <> (held).bits
        union all
        select 'bad_codebook', format('%s cut-offs and %s weights for %s bits; they must be finite, the cut-offs ascending',
                                      cardinality(codebook.cutoffs), cardinality(codebook.weights), codebook.bits)
        where cardinality(codebook.cutoffs) <> (1 << codebook.bits) - 1
           or cardinality(codebook.weights) <> 1 << codebook.bits
           or codebook.cutoffs <> array(select cutoff from unnest(codebook.cutoffs) as cutoff order by cutoff)
           or exists (select from unnest(codebook.cutoffs || codebook.weights) as level where (abs(level) < 'infinity') is not true)
        union all
        -- searches in SQL decode to whole steps
        select 'bad_codebook', 'weights that are not whole multiples of a 127th of the largest magnitude; rebuild'
        from (
            select level.weight / nullif(max(abs(level.weight)) over ()::double precision, 0) * 127 as steps
            from unnest(codebook.weights) as level (weight)
            where abs(level.weight) < 'infinity'
        ) as counted
        where abs(counted.steps - round(counted.steps)) > 1e-3
        limit 1
    ) as wrong
    where codebook.collection_id = (held).collection_id
    union all
    select 'not_unit_length', format('centroid %s', centroid.centroid_id),
           format('codebook %s, a length of %s', centroid.codebook_id, round(@extschema:vector@.l2_norm(centroid.vector)::numeric, 4))
    from pgretrieval.centroid
    where centroid.collection_id = (held).collection_id and (held).unit_vectors and not (@extschema:vector@.l2_norm(centroid.vector) between 0.998 and 1.002);
end;
