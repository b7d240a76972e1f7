-- How statements reach what a collection is attached to, as pieces of SQL over the alias `source`: the relation, and the expressions of
-- a row's key, a passage's id, its texts in order and its metadata; key_type is that of the table's key. Errors name what is gone.
create or replace function pgretrieval.source_of(held pgretrieval.attachment)
returns table (relation text, key text, id text, texts text, metadata text, key_type text)
language plpgsql stable rows 1
set search_path from current
as $function$
begin
    if not exists (select from pg_class where oid = held.source) then
        raise exception 'a collection is attached to %, which is not there any more', held.source_name using errcode = 'PGR05',
            hint = format('Detach collection %L; it keeps its passages.',
                          (select name from pgretrieval.collection where collection_id = held.collection_id));
    end if;
    perform pgretrieval.check_columns(
        held.source, held.key_column || case when held.query is null then held.text_columns || held.metadata_columns else '{}' end
    );
    return query select
        case when held.query is null then pgretrieval.qualified_name(held.source) else format(E'(\n%s\n)', held.query) end,
        format('source.%I', case when held.query is null then held.key_column else 'key' end),
        format('source.%I', case when held.query is null then held.key_column else 'id' end),
        format('array[%s]', (
            select string_agg(format('source.%I::text', name), ', ' order by place)
            from unnest(held.text_columns) with ordinality as used (name, place)
        )),
        format('jsonb_build_object(%s)', (
            select string_agg(format('%L, source.%I', name, name), ', ' order by place)
            from unnest(held.metadata_columns) with ordinality as used (name, place)
        )),
        (select format_type(atttypid, atttypmod) from pg_attribute where attrelid = held.source and attname = held.key_column);
end
$function$;
