-- The n best rows (bucket, passage_id, score) of a statement among the passages that the caller may see, whose metadata match `filter`,
-- and whose keys are in `among`; null restricts nothing. With `all_matches`, passages that the statement does not give come last, with
-- score 0, so that min(n, matches) always come back.
--
-- Where a sample of pages says that a twentieth or more match, scored passages are looked up, best first, until n of them match.
-- Else, where too few are scored, and under row-level security, all matches are found first and then scored (docs/design/stages.md). The
-- statement may use $2 and $3, which are `filter` and `among`.
create or replace function pgretrieval.ranked_among(
    in_collection integer, scored text, n integer, filter jsonpath, among text[], all_matches boolean
) returns table (bucket smallint, passage_id integer, score real)
language plpgsql stable rows 256
set search_path from current
set plan_cache_mode = force_custom_plan
as $function$
#variable_conflict use_column
declare
    matching text := concat_ws(
        ' and ',
        'passage.collection_id = ' || in_collection,
        case when filter is not null then 'passage.metadata @@ $2' end,
        case when among is not null then 'passage.key = any($3)' end
    );
    -- The shards of a distributed table join their own rows; what has an offset would be gathered on the coordinator.
    distributed boolean := pgretrieval.is_distributed();
    found_buckets smallint[];
    found_passages integer[];
    found_scores real[];
begin
    if pgretrieval.share_among(in_collection, filter, among) >= 0.05 then
        execute format(
            $statement$
            select array_agg(found.bucket), array_agg(found.passage_id), array_agg(found.score)
            from (
                select ranked.bucket, ranked.passage_id, ranked.score::real
                from (select * from (%s) as scored order by score desc, passage_id) as ranked
                %s
                order by ranked.score desc, ranked.passage_id
                limit $1
            ) as found
            $statement$,
            scored,
            format(
                case when distributed then
                    'join pgretrieval.passage on passage.bucket = ranked.bucket and passage.passage_id = ranked.passage_id and %s'
                else
                    'cross join lateral (
                         select from pgretrieval.passage
                         where passage.bucket = ranked.bucket and passage.passage_id = ranked.passage_id and %s
                         offset 0  -- one index look-up each, in this order; a join would read all passages
                     ) as allowed'
                end,
                matching
            )
        ) into found_buckets, found_passages, found_scores using n, filter, among;
        if cardinality(found_passages) = n or not all_matches then
            return query select * from unnest(found_buckets, found_passages, found_scores);
            return;
        end if;
    end if;

    return query execute format(
        $statement$
        select matched.bucket, matched.passage_id, coalesce(ranked.score, 0)::real
        from (select passage.bucket, passage.passage_id from pgretrieval.passage where %s %s) as matched
        %s join (%s) as ranked using (bucket, passage_id)
        order by coalesce(ranked.score, 0) desc, matched.passage_id
        limit $1
        $statement$,
        matching, case when not distributed then 'offset 0' end, case when all_matches then 'left' end, scored
    ) using n, filter, among;
end
$function$;
