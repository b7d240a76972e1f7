-- Returns the n passages whose dense vectors are nearest to the query's, among those that the caller may see and that match `filter`,
-- `among` and `passage_ids`. Null restricts nothing; n null returns all; a null query vector returns none. Given passages are all
-- compared. Otherwise, if a sample says that at least a twentieth match, the nearest come from the vector index, which is asked for
-- twice as many as that share requires; if fewer match, or too few of these do, all matches are compared. With `all_matches` that is also
-- done where all match and the index has too few, such as more than a scan of it returns. A score is the cosine, the inner product or the
-- negative distance; vectors without one, of length zero, are left out.
create or replace function pgretrieval.candidates_by_dense(
    held pgretrieval.collection, query_dense @extschema:vector@.vector, n integer, filter jsonpath, among text[], passage_ids integer[],
    all_matches boolean
) returns table (bucket smallint, passage_id integer, score real)
language plpgsql stable rows 256
set search_path from current
set plan_cache_mode = force_custom_plan
set hnsw.ef_search = 40
set hnsw.iterative_scan = 'off'
as $function$
#variable_conflict use_column
declare
    vectors record;
    share real := case when passage_ids is null then pgretrieval.share_among(held.collection_id, filter, among) end;
    scanned integer := case when all_matches then 20000 else 1000 end;  -- at most: hnsw.max_scan_tuples, hnsw.ef_search
    nearest integer := case when share >= 0.05 then least(scanned, ceil(n * case when share = 1 then 1 else 2 / least(share, 1) end)) end;
    found_buckets smallint[];
    found_passages integer[];
    found_scores real[];
begin
    if query_dense is null then
        return;
    end if;
    select * into strict vectors from pgretrieval.dense_source(held);
    loop
        perform pgretrieval.scan_vectors(
            least(1000, greatest(nearest, 200)),  -- fewer find fewer of the nearest
            case when all_matches then 'relaxed_order' else 'off' end
        );
        execute format(
            $statement$
            select array_agg(found.bucket), array_agg(found.passage_id), array_agg(found.score)
            from (
                select passage.bucket, passage.passage_id, (%8$s - vectors.pgretrieval_distance)::real as score
                from (
                    select %1$s, %2$s as pgretrieval_distance from %3$s as vectors where %4$s %5$s
                ) as vectors
                join pgretrieval.passage on %6$s
                where passage.collection_id = %7$s
                  and ($3 is null or passage.metadata @@ $3) and ($4 is null or passage.key = any($4))
                  and ($5 is null or passage.passage_id = any($5))
                order by vectors.pgretrieval_distance + 0, passage.passage_id  -- not by the vector index, which would stop early
                limit $2
            ) as found
            $statement$,
            vectors.keys, vectors.distance, vectors.source, vectors.wanted,
            case when nearest is not null then format('order by %s limit %s', vectors.distance, nearest) end,
            case when nearest is not null then vectors.of_vector else vectors.of_passage end,
            held.collection_id,
            -- The cosine is 1 minus its distance.
            case when position('operator(@extschema:vector@.<=>)' in vectors.distance) > 0 then 1 else 0 end
        ) into found_buckets, found_passages, found_scores using query_dense, n, filter, among, passage_ids;
        exit when nearest is null or cardinality(found_passages) = n or share = 1 and not all_matches;
        nearest := null;
    end loop;
    return query
    select * from unnest(found_buckets, found_passages, found_scores) as found (bucket, passage_id, score) where found.score <> 'NaN';
exception when data_exception then
    if sqlstate <> '22000' then
        raise;
    end if;
    raise exception '% has vectors of other dimensions than the query''s %', held.dense, @extschema:vector@.vector_dims(query_dense)
        using errcode = 'PGR05', hint = 'Give that column one dimension by its type, or leave dense vectors out of the search.';
end
$function$;
