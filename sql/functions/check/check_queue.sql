-- Checks that an attached collection and its table agree, except for what is queued, and that triggers queue changes. Rows that may have
-- no text are left out. Nothing is reported if row-level security hides passages or rows of the table, or if the role may not read the
-- queue.
create or replace function pgretrieval.check_queue(held pgretrieval.collection)
returns table (rule text, id text, detail text)
language plpgsql stable
set search_path from current
set plan_cache_mode = force_custom_plan
set datestyle = 'ISO, YMD'
set timezone = 'UTC'
set intervalstyle = 'postgres'
set extra_float_digits = 1
set bytea_output = 'hex'
set lc_monetary = 'C'
as $function$
#variable_conflict use_column
declare
    attached pgretrieval.attachment;
    pieces record;
begin
    if row_security_active('pgretrieval.passage') or not has_table_privilege('pgretrieval.queue', 'select') then
        return;
    end if;
    return query
    select 'orphan_queue_entry', coalesce(queue.key, 'every key'), 'the collection is not attached to a table'
    from pgretrieval.queue
    where queue.collection_id = held.collection_id and not exists (
        select from pgretrieval.attachment where attachment.collection_id = held.collection_id
    );
    select * into attached from pgretrieval.attachment where attachment.collection_id = held.collection_id;
    if not found then
        return;
    end if;
    begin
        select * into pieces from pgretrieval.source_of(attached);
        perform pgretrieval.source_rows(held.collection_id, '{}');
    exception when sqlstate 'PGR05' then
        return query select 'lost_source', attached.source_name, sqlerrm;
        return;
    when sqlstate 'PGR06' then
        null;  -- row-level security: nothing is said of rows
    end;
    return query
    select 'missing_trigger', attached.source_name, format('changes are not queued: its triggers are %s', told.triggers)
    from (select pgretrieval.sync_state(held.collection_id) ->> 'triggers') as told (triggers)
    where told.triggers <> 'enabled';
    return query
    select 'orphan_source', source_passage.passage_key, format('row %L is noted as its source, and nothing is queued for that', source_key)
    from (
        select noted.bucket, noted.passage_key
        from pgretrieval.source_passage as noted
        where noted.collection_id = held.collection_id
        except
        select passage.bucket, passage.key
        from pgretrieval.passage
        where passage.collection_id = held.collection_id
    ) as without
    join pgretrieval.source_passage using (bucket, passage_key)
    where source_passage.collection_id = held.collection_id
      and not exists (
          select from pgretrieval.queue
          where queue.collection_id = source_passage.collection_id and (queue.key is null or queue.key = source_passage.source_key)
      );
    if row_security_active(attached.source)
       or exists (select from pgretrieval.queue where queue.collection_id = held.collection_id and queue.key is null) then
        return;
    end if;
    return query execute format(
        $statement$
        with present as materialized (
            select %1$s as key, %2$s as id, array_to_string(%3$s, ' ') as texts
            from %4$s as source
        ),
        kept as (
            select passage.key as id, coalesce(source_passage.source_key, passage.key) as key
            from pgretrieval.passage
            left join pgretrieval.source_passage
                on source_passage.collection_id = passage.collection_id and source_passage.bucket = passage.bucket
                and source_passage.passage_key = passage.key
            where passage.collection_id = $1
        ),
        apart as (
            select 'missing_passage' as rule, present.id, present.key, 'its row is there and not queued' as detail
            from present
            where present.key <> '' and present.id <> '' and present.texts ~ '[[:alnum:]]'
              and not exists (select from kept where kept.id = present.id)
            union all
            select 'surplus_passage', kept.id, kept.key, 'its row is gone and not queued'
            from kept
            where not exists (select from present where present.id = kept.id and present.texts <> '')
        )
        select apart.rule, apart.id, apart.detail
        from apart
        where not exists (select from pgretrieval.queue where queue.collection_id = $1 and queue.key = apart.key)
        $statement$,
        pieces.key, pieces.id, pieces.texts, pieces.relation
    ) using held.collection_id;
end
$function$;
