-- Returns how many of its nearest centroids each query token probes to see about `tokens` tokens. Under row-level security this is
-- estimated by the codebook's mean: the sizes of centroids would disclose hidden passages.
create or replace function pgretrieval.probes_for(held pgretrieval.collection, query @extschema:vector@.vector[], tokens bigint) returns integer[]
language plpgsql stable
set search_path from current
set plan_cache_mode = force_custom_plan
set hnsw.ef_search = 64
set hnsw.iterative_scan = 'relaxed_order'
as $function$
declare
    codebook pgretrieval.codebook := (
        select c from pgretrieval.codebook as c where c.collection_id = held.collection_id and c.codebook_id = held.codebook_id
    );
    width integer := (select decoder.width from pgretrieval.decoder(held.codebook_id) as decoder);
    each integer := least(ceil(tokens * codebook.centroid_count / greatest(codebook.tokens, 1)::numeric), codebook.centroid_count);
    listed integer := least(2::bigint * each, codebook.centroid_count);
    found integer[];
begin
    if row_security_active('pgretrieval.passage') then
        return array_fill(greatest(each, 1), array[cardinality(query)]);
    end if;
    loop
        execute format(
            $statement$
            select array_agg(coalesce(reached.number, $2) order by token.place)
            from unnest($1) with ordinality as token (vector, place)
            cross join lateral (
                select min(walked.number) filter (where walked.passed >= $3)::integer as number
                from (
                    select nearest.number, sum(size.tokens) over (order by nearest.number) as passed
                    from (
                        select listed.centroid_id, row_number() over (order by listed.distance) as number
                        from (
                            select centroid.centroid_id, centroid.vector::@extschema:vector@.halfvec(%1$s) operator(@extschema:vector@.<#>) token.vector::@extschema:vector@.halfvec(%1$s) as distance
                            from pgretrieval.centroid
                            where centroid.collection_id = %2$s and centroid.codebook_id = %3$s
                            order by centroid.vector::@extschema:vector@.halfvec(%1$s) operator(@extschema:vector@.<#>) token.vector::@extschema:vector@.halfvec(%1$s)
                            limit $2
                        ) as listed
                    ) as nearest
                    left join %4$s
                ) as walked
            ) as reached
            $statement$,
            @extschema:vector@.vector_dims(query[array_lower(query, 1)]), held.collection_id, held.codebook_id,
            case when pgretrieval.is_distributed() then
                format('pgretrieval.centroid_sizes(%s, %s, $4) as size using (centroid_id)', held.collection_id, held.codebook_id)
            else
                format(
                    'lateral (
                         select sum(length(posting_code.residuals)) / $4 as tokens
                         from pgretrieval.posting_code
                         where posting_code.collection_id = %s and posting_code.codebook_id = %s
                           and posting_code.centroid_id = nearest.centroid_id
                     ) as size on true',
                    held.collection_id, held.codebook_id
                )
            end
        ) into found using query, listed, tokens, width;
        exit when listed = codebook.centroid_count or listed > all (found);
        listed := least(4::bigint * listed, codebook.centroid_count);
    end loop;
    return found;
end
$function$;
