-- Returns scores of passages by their retrieved tokens alone (XTR, section 3.2): each query token probes as many centroids as `probes`
-- says, and retrieves the best `k_tokens` of the tokens that all of these list. A passage scores its best retrieved token, or what
-- `imputation` says without one, summed over the query. The row without passage_id has the score of passages without any retrieved
-- token, and the number of tokens that each query token saw in its own centroids. Only passages count that the caller may see and that
-- match `filter` and `among`.
--
-- If a passage is `explained`, that row also has for each query token the score of the passage's best retrieved token and its position from
-- 0, null without one, and the imputed score. Positions of others' tokens are not read, so under row-level security they are null.
create or replace function pgretrieval.score_tokens(
    held pgretrieval.collection, query @extschema:vector@.vector[], probes integer[], k_tokens integer, imputation text,
    filter jsonpath, among text[], explained integer
) returns table (
    passage_id integer, score real, seen bigint[], token_scores real[], token_positions integer[], imputed_scores real[]
)
language plpgsql stable rows 1000
set search_path from current
set plan_cache_mode = force_custom_plan
set hnsw.ef_search = 64
set hnsw.iterative_scan = 'relaxed_order'
as $function$
#variable_conflict use_column
declare
    decoder record;
    -- One pass over the tokens decodes each once, and compares it with every query token.
    distances text := (
        select string_agg(format('(decoded.vector operator(@extschema:vector@.<#>) ($2)[%s])::real', place), ', ' order by place)
        from generate_subscripts(query, 1) as place
    );
    dims integer := @extschema:vector@.vector_dims(query[array_lower(query, 1)]);
    imputed text := case imputation
        when 'kth' then 'last.score'
        when 'warp' then $warp$(
            select coalesce(max(walked.score) filter (where walked.passed > (select budget.tokens from budget)), min(walked.score))
            from (
                select best.score, sum(best.tokens) over (order by best.score desc, best.centroid_id) as passed
                from (
                    select size.centroid_id, size.tokens, -(size.vector operator(@extschema:vector@.<#>) asked.vector) as score
                    from size
                    order by score desc, size.centroid_id
                    limit (select floor(budget.tokens) + 1 from budget)  -- each has a token at least
                ) as best
            ) as walked
        )$warp$
        when 'zero' then '0'
        else quote_literal(imputation)
    end || '::double precision';
    -- The rows of probed centroids, whole or, where row-level security hides passages, those of the passages that are seen.
    restricted boolean := row_security_active('pgretrieval.passage');
    listed text := case when restricted then $own$(
                    select own_entries.*, null::integer[] as positions
                    from pgretrieval.own_entries(
                        'posting_code', %2$s, %3$s, array(select distinct probed.centroid_id from probed)::text[],
                        pgretrieval.claims_of(%2$s, $5, $6)
                    )
                )$own$ else $all$(
                    select posting_code.bucket, posting_code.centroid_id, posting_code.passage_ids, posting_code.positions,
                           substr(posting_code.residuals, 1) as residuals
                    from pgretrieval.posting_code
                    where posting_code.collection_id = %2$s and posting_code.codebook_id = %3$s
                      and posting_code.centroid_id = any(array(select distinct probed.centroid_id from probed))
                )$all$ end;
    -- Passages that were deleted are few; a passage is looked up for each token only where not all of them count.
    counted text := case when filter is not null or among is not null or restricted then $some$exists (
                    select from pgretrieval.passage
                    where passage.collection_id = %2$s and passage.bucket = entry.bucket and passage.passage_id = entry.passage_id
                      and ($5 is null or passage.metadata @@ $5) and ($6 is null or passage.key = any($6))
                )$some$ else $most$not exists (
                    select from pgretrieval.removed_passage
                    where removed_passage.collection_id = %2$s and removed_passage.bucket = entry.bucket
                      and removed_passage.passage_id = entry.passage_id
                )$most$ end;
    explanation text := case when explained is not null then $explanation$
                   (
                       select array_agg(best.score::real order by asked.place)
                       from asked
                       left join retrieved as best on best.place = asked.place and best.passage_id = $7
                   ),
                   array(
                       select (
                           select listed.position
                           from listed
                           where listed.place = asked.place and listed.passage_id = $7
                           order by listed.score desc, listed.position limit 1
                       )
                       from asked
                       order by asked.place
                   ),
                   (select array_agg(missed.score::real order by missed.place) from missed)
            $explanation$ else 'null::real[], null::integer[], null::real[]' end;
begin
    select * into strict decoder from pgretrieval.decoder(held.codebook_id);
    return query execute format(
        regexp_replace(replace(replace(replace(replace($statement$
        with asked as materialized (
            select token.place, token.vector from unnest($2) with ordinality as token (vector, place)
        ),
        probed as materialized (
            select asked.place, nearest.centroid_id
            from asked
            cross join lateral (
                select centroid.centroid_id
                from pgretrieval.centroid
                where centroid.collection_id = %2$s and centroid.codebook_id = %3$s
                order by centroid.vector::@extschema:vector@.halfvec(%1$s) operator(@extschema:vector@.<#>) asked.vector::@extschema:vector@.halfvec(%1$s)
                limit $4[asked.place::integer]
            ) as nearest
        ),
        scored as materialized (
            select decoded.centroid_id, decoded.passage_id, decoded.position, array[%7$s] as distances
            from (
                select token.centroid_id, token.passage_id, token.position,
                       %5$s(token.centroid operator(@extschema:vector@.+) %6$s) as vector
                from (
                    select entry.centroid_id, entry.centroid, entry.passage_id, entry.position,
                           substr(entry.residuals, 1 + %4$s * (entry.place::integer - 1), %4$s) as packed
                    from (
                        select posting.bucket, posting.centroid_id, posting.centroid, posting.residuals, own.passage_id, own.position, own.place
                        from (
                            select listed.bucket, listed.centroid_id, listed.passage_ids, listed.positions, listed.residuals,
                                   centroid.vector::@extschema:vector@.vector as centroid
                            from LISTED as listed
                            join pgretrieval.centroid
                                on centroid.collection_id = %2$s and centroid.codebook_id = %3$s
                                and centroid.centroid_id = listed.centroid_id
                            offset 0
                        ) as posting
                        cross join lateral unnest(posting.passage_ids, posting.positions)
                            with ordinality as own (passage_id, position, place)
                        offset 0
                    ) as entry
                    where COUNTED
                    offset 0
                ) as token
                offset 0
            ) as decoded
        ),
        listed as materialized (
            select asked.place, best.passage_id, best.position, -best.distance::double precision as score
            from asked
            cross join lateral (
                select scored.passage_id, scored.position, scored.distances[asked.place::integer] as distance
                from scored
                order by distance, scored.passage_id
                limit $1
            ) as best
        ),
        retrieved as (
            select listed.place, listed.passage_id, max(listed.score) as score
            from listed
            group by listed.place, listed.passage_id
        ),
        size as materialized (
            select sized.centroid_id, sized.tokens, centroid.vector::@extschema:vector@.vector as vector
            from pgretrieval.centroid_sizes(%2$s, %3$s, %4$s) as sized
            join pgretrieval.centroid
                on centroid.collection_id = %2$s and centroid.codebook_id = %3$s and centroid.centroid_id = sized.centroid_id
        ),
        budget as materialized (
            select sqrt(8 * sum(size.tokens)) as tokens from size
        ),
        missed as materialized (
            select asked.place, coalesce(IMPUTED, 0) as score
            from asked
            left join (select listed.place, min(listed.score) as score from listed group by listed.place) as last using (place)
        )
        select summed.passage_id, (summed.score + (select sum(missed.score) from missed))::real, summed.seen,
               summed.token_scores, summed.token_positions, summed.imputed_scores
        from (
            select retrieved.passage_id, sum(retrieved.score - missed.score) as score, null::bigint[] as seen,
                   null::real[] as token_scores, null::integer[] as token_positions, null::real[] as imputed_scores
            from retrieved join missed using (place)
            group by retrieved.passage_id
            union all
            select null, 0, array(
                select coalesce(sum(counted.tokens), 0)::bigint
                from asked
                left join probed using (place)
                left join (select scored.centroid_id, count(*) as tokens from scored group by scored.centroid_id) as counted
                    using (centroid_id)
                group by asked.place
                order by asked.place
            ),
            EXPLANATION
        ) as summed
        $statement$, 'IMPUTED', imputed), 'LISTED', listed), 'COUNTED', counted), 'EXPLANATION', explanation),
            case when explained is null then ', (\w+\.)?positions?\M' else '' end, '', 'g'  -- which cost time
        ),
        dims, held.collection_id, held.codebook_id, decoder.width,
        case when held.unit_vectors then '@extschema:vector@.l2_normalize' end, decoder.residual, distances
    ) using k_tokens, query, decoder.levels, probes, filter, among, explained;
end
$function$;
