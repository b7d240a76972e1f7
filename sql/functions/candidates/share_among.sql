-- About which share of a collection's passages match `filter` and are in `among`: counted on two dozen pages, the same ones each time. 0
-- before the first ANALYZE, and under row-level security, where the share would tell how many passages there are that the caller does
-- not see.
create or replace function pgretrieval.share_among(in_collection integer, filter jsonpath, among text[]) returns real
language plpgsql stable
set search_path from current
set plan_cache_mode = force_custom_plan
as $function$
declare
    held_pages real;
    held_rows real;
    matches real;
begin
    if row_security_active('pgretrieval.passage') then
        return 0;
    elsif filter is null and among is null then
        return 1;
    end if;
    select relpages, reltuples into held_pages, held_rows
    from pg_class where oid = to_regclass(format('pgretrieval.passage_%s', in_collection));
    if held_pages < 1 or held_rows < 1 then
        return 0;
    end if;
    execute format(
        'select count(*) from pgretrieval.passage tablesample system (%s) repeatable (0)
         where passage.collection_id = %s and ($1 is null or passage.metadata @@ $1) and ($2 is null or passage.key = any($2))',
        least(100, 100 * 24 / held_pages), in_collection
    ) into matches using filter, among;
    return matches / (held_rows * least(1, 24 / held_pages));
end
$function$;
