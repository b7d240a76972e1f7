-- Returns pieces of SQL that read what a collection is attached to, over the alias `source`: the relation, and expressions of a row's
-- key, a passage's id, its texts in order, its metadata, and whether its key is among $1, by an index if there is one; and of the text
-- of `given.key` in the key's form. Raises an error that names what is gone.
--
-- The table, and the types of its columns, may be anyone's: values of types that are not plain are read by the types' output functions,
-- which only superusers can define, and by no cast. The types are those that statements see from here on: reading them locks the table
-- against changes.
create or replace function pgretrieval.source_of(held pgretrieval.attachment)
returns table (relation text, key text, id text, texts text, metadata text, matching text, given_key text)
language plpgsql stable rows 1
set search_path from current
as $function$
declare
    key_column text := case when held.query is null then held.key_column else 'key' end;
    id_column text := case when held.query is null then held.key_column else 'id' end;
    names text[] := array[key_column, id_column] || held.text_columns || held.metadata_columns;
    types oid[];
    key_type oid;
    equals text;
begin
    if not exists (select from pg_class where oid = held.source) then
        raise exception 'a collection is attached to %, which is not there any more', held.source_name using errcode = 'PGR05',
            hint = format('Detach collection %L; it keeps its passages.',
                          (select name from pgretrieval.collection where collection_id = held.collection_id));
    end if;
    if (select relkind from pg_class where oid = held.source) not in ('r', 'p') then
        raise exception 'a collection is attached to %, which is no table any more', held.source_name using errcode = 'PGR05',
            hint = 'Detach the collection, and attach it to a table.';
    end if;
    perform pgretrieval.check_source(
        held.source, held.key_column || case when held.query is null then held.text_columns || held.metadata_columns else '{}' end
    );
    -- A table without those that inherit from it, whose changes its triggers do not tell of.
    relation := case when held.query is not null then format(E'(\n%s\n)', held.query)
                     else case (select relkind from pg_class where oid = held.source) when 'r' then 'only ' else '' end
                          || held.source end;
    begin
        execute format('select array[%s] from (select) as nothing left join %s as source on false',
                       (select string_agg(format('pg_typeof(source.%I)::oid', name), ', ' order by place)
                        from unnest(names) with ordinality as used (name, place)),
                       relation) into types;
    exception when undefined_table or undefined_column or undefined_function or invalid_schema_name or syntax_error then
        raise exception 'the query that is attached to % fails: %', held.source_name, sqlerrm using errcode = 'PGR05',
            hint = 'It needs columns id and key, and those of texts and metadata, and names of tables and functions with their schema.';
    end;
    perform pgretrieval.check_source(held.source);  -- from here on none can be made

    key := format('format(''%%s'', source.%I)', key_column);
    id := format('format(''%%s'', source.%I)', id_column);
    texts := format('array[%s]', (
        select string_agg(
            format(case when pgretrieval.is_plain(type) then 'source.%I::text' else 'nullif(format(''%%s'', source.%I), '''')' end, name),
            ', ' order by place
        )
        from unnest(names, types) with ordinality as used (name, type, place)
        where place between 3 and 2 + cardinality(held.text_columns)
    ));
    metadata := format('jsonb_build_object(%s)', (
        select string_agg(
            format(
                case when pgretrieval.is_plain(type) then '%L, source.%I'
                     when typcategory = 'A' then '%L, nullif(format(''%%s'', source.%I), '''')::text[]'
                     else '%L, nullif(format(''%%s'', source.%I), '''')' end,
                name, name
            ),
            ', ' order by place
        )
        from unnest(names, types) with ordinality as used (name, type, place) join pg_type on pg_type.oid = type
        where place > 2 + cardinality(held.text_columns)
    ));
    with recursive unwrapped as (  -- a cast to a domain would run its checks
        select oid, typtype, typbasetype from pg_type where oid = types[1]
        union all
        select pg_type.oid, pg_type.typtype, pg_type.typbasetype from unwrapped join pg_type on pg_type.oid = unwrapped.typbasetype
    )
    select oid into key_type from unwrapped where typtype <> 'd' and pgretrieval.is_plain(oid);
    select format('operator(%I.=)', nspname) into equals
    from pg_operator join pg_namespace on pg_namespace.oid = oprnamespace join pg_roles on pg_roles.oid = oprowner
    where oprname = '=' and rolsuper and oprright = oprleft
      and oprleft = case key_type when 'varchar'::regtype then 'text'::regtype else key_type end
    order by nspname <> 'pg_catalog' limit 1;
    matching := case when equals is not null then format('source.%I %s any($1::%s[])', key_column, equals, format_type(key_type, -1))
                     else format('%s = any($1)', key) end;
    given_key := case when equals is not null then format('format(''%%s'', given.key::%s)', format_type(key_type, -1)) else 'given.key' end;
    return next;
end
$function$;
