-- Returns the state of a collection's attachment for `stats` and `doctor`: the table, whether its triggers work, how many keys are
-- queued and since when, and the first parked keys. Keys and errors are of all rows: they are null if row-level security hides some, or
-- if the role may not read the queue.
create or replace function pgretrieval.sync_state(in_collection integer) returns jsonb
language plpgsql stable
set search_path from current
set plan_cache_mode = force_custom_plan
as $function$
declare
    held pgretrieval.attachment;
    state jsonb;
begin
    select * into held from pgretrieval.attachment where collection_id = in_collection;
    state := jsonb_build_object(
        'attached', case when exists (select from pg_class where oid = held.source) then held.source::text else held.source_name end,
        'triggers', case
            when held.source is null then null
            when not exists (select from pg_class where oid = held.source) then 'no table'
            else (
                select case when count(*) filter (where tgparentid = 0) < 2 then 'missing'
                            when bool_or(tgenabled in ('D', 'R')) then 'disabled' else 'enabled' end
                from pg_trigger
                where tgname in ('pgretrieval_' || in_collection, 'pgretrieval_' || in_collection || '_truncate')
                  and tgrelid in (select held.source union all select relid from pg_partition_tree(held.source))
            )
        end
    );
    if row_security_active('pgretrieval.passage') or not has_table_privilege('pgretrieval.queue', 'select') then
        return state || '{"queued": null, "parked": null, "parked_keys": null, "oldest": null}';
    end if;
    return state || (
        select jsonb_build_object(
            'queued', count(*) filter (where parked_at is null),
            'parked', count(distinct key) filter (where parked_at is not null),
            'oldest', extract(epoch from clock_timestamp() - min(enqueued_at) filter (where parked_at is null and error is null)),
            'parked_keys', coalesce((
                select jsonb_agg(jsonb_build_object('key', key, 'error', error))
                from (
                    select distinct on (key) key, error from pgretrieval.queue
                    where collection_id = in_collection and parked_at is not null order by key, queue_id desc limit 5
                ) as parked
            ), '[]')
        )
        from pgretrieval.queue where collection_id = in_collection
    );
end
$function$;
