-- Returns the n passages whose item embeddings have the highest inner product with a query vector, among those that the caller may see
-- and that match `filter` and `among`, without `passed_over`. If a sample says that at least a twentieth match, they come from the
-- vector index, which is asked for twice as many as that share requires. If fewer match, or too few of these do, all matches are
-- compared. The index searches as far as it can: with ef_search 200 it finds .994 of the best hundred of an [EMB] cross-encoder's 11,915
-- items, with 1,000 all, in 4 ms more. Beyond 1,000 its scan goes on by iteration: of 120,000 items with made-up scores it finds .934 of
-- the best 1,500 and .833 of 6,000, in 96 and 260 ms, and comparing all takes 206 ms.
create or replace function pgretrieval.candidates_by_embedding(
    in_collection integer, in_factorization integer, query real[], n integer, filter jsonpath, among text[], passed_over integer[]
) returns table (bucket smallint, passage_id integer, score real)
language plpgsql stable rows 256
set search_path from current
set plan_cache_mode = force_custom_plan
set hnsw.ef_search = 1000
set hnsw.iterative_scan = 'relaxed_order'
as $function$
#variable_conflict use_column
declare
    share real := pgretrieval.share_among(in_collection, filter, among);
    nearest integer := case when share >= 0.05 then ceil(
        (n + coalesce(cardinality(passed_over), 0)) * case when share = 1 then 1 else 2 / least(share, 1) end
    ) end;
    made pgretrieval.factorization;
    items real;
    distance text;
    common double precision;
    found_buckets smallint[];
    found_passages integer[];
    found_scores real[];
begin
    select * into made from pgretrieval.factorization f
    where f.factorization_id = in_factorization and f.collection_id = in_collection;
    if not found then
        return;  -- another has taken its place
    end if;
    -- Where a twentieth of all or more are wanted, or more than ef_search, the index finds too few of them, and comparing all costs hardly
    -- more; of millions it would, and a thousandth of them are left to the index.
    select reltuples into items from pg_class where oid = to_regclass(format('pgretrieval.item_embedding_%s', in_factorization));
    if nearest > least(0.05 * items, greatest(1000, 0.001 * items)) then
        nearest := null;
    end if;
    -- What all embeddings have in common is not in them: the vector index finds its way by how they differ.
    common := (select sum(both_of.asked::double precision * both_of.centre) from unnest(query, made.centre) as both_of (asked, centre));
    distance := format('(embedding::@extschema:vector@.%1$s(%2$s)) operator(@extschema:vector@.<#>) ($1)::@extschema:vector@.%1$s(%2$s)', made.element, made.anchor_items);
    perform pgretrieval.scan_vectors(1000, 'relaxed_order');
    loop
        execute format(
            $statement$
            select array_agg(found.bucket), array_agg(found.passage_id), array_agg(found.score)
            from (
                select passage.bucket, passage.passage_id, ($6 - embedded.distance)::real as score
                from (
                    select bucket, passage_id, %s as distance from pgretrieval.item_embedding where factorization_id = %s %s
                ) as embedded
                join pgretrieval.passage
                    on passage.collection_id = %s and passage.bucket = embedded.bucket and passage.passage_id = embedded.passage_id
                where ($3 is null or passage.metadata @@ $3) and ($4 is null or passage.key = any($4))
                  and ($5 is null or passage.passage_id <> all($5))
                order by embedded.distance + 0, passage.passage_id  -- not by the vector index, which would stop early
                limit $2
            ) as found
            $statement$,
            distance, in_factorization, case when nearest is not null then format('order by %s limit %s', distance, nearest) end,
            in_collection
        ) into found_buckets, found_passages, found_scores using query, n, filter, among, passed_over, common;
        exit when nearest is null or cardinality(found_passages) = n;
        nearest := null;
    end loop;
    return query select * from unnest(found_buckets, found_passages, found_scores);
end
$function$;
