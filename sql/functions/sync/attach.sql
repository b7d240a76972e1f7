-- Attaches a collection to a table: triggers queue the keys of changed rows, and all present keys are queued for the workers. With a
-- query, passages are its rows, with columns `id` and, for the table's key, `key`; without one, each row of the table is a passage,
-- named by the key column.
create or replace function pgretrieval.attach(
    name text, source regclass, id text, texts text[], metadata text[] default '{}', query text default null
) returns void
language plpgsql volatile
set search_path from current
set plan_cache_mode = force_custom_plan
set datestyle = 'ISO, YMD'
set timezone = 'UTC'
set intervalstyle = 'postgres'
set extra_float_digits = 1
set bytea_output = 'hex'
set lc_monetary = 'C'
as $function$
declare
    held pgretrieval.collection := pgretrieval.known_collection(attach.name);
    relation pg_class := (select c from pg_class c where c.oid = attach.source);
    attached pgretrieval.attachment;
    pieces record;
    source_name text := attach.source;  -- with its schema, which is not on the search path
    trigger_name text := 'pgretrieval_' || held.collection_id;
    arguments text[];
    strangers text;
begin
    select * into attached from pgretrieval.attachment where collection_id = held.collection_id;
    if found then
        raise exception 'collection % is attached to % already', quote_literal(held.name), attached.source_name
            using errcode = 'PGR05', hint = 'Detach it first.';
    end if;
    if relation.oid is null then
        raise exception 'source is %', coalesce(attach.source::text, 'null') using errcode = 'PGR05', hint = 'Give the name of a table.';
    end if;
    if attach.id is null then
        raise exception 'id is null' using errcode = 'PGR05', hint = 'Name the column that is the key.';
    end if;
    if array_ndims(attach.texts) > 1 or array_ndims(attach.metadata) > 1 then
        raise exception 'texts and metadata are lists of columns, not of lists' using errcode = 'PGR05';
    end if;
    if relation.relkind not in ('r', 'p') or relation.relpersistence = 't' then
        raise exception '% is no table that can be followed', source_name using errcode = 'PGR05',
            hint = 'Attach an ordinary or partitioned table, where triggers can be; a view is attached as the query of its base table.';
    end if;
    if relation.relkind = 'r' and exists (select from pg_inherits where inhparent = attach.source) then
        raise exception 'tables inherit from %, and its triggers do not tell of changes of their rows', source_name using errcode = 'PGR05',
            hint = 'Attach each of them to a collection of its own, or make it a partitioned table.';
    end if;
    if not pg_has_role(relation.relowner, 'usage') then
        raise exception '% belongs to role %', source_name, pg_get_userbyid(relation.relowner) using errcode = 'PGR05',
            hint = 'Only its owner can attach it, and take the triggers away again; attach it in that role, or be granted it.';
    end if;
    perform pgretrieval.lock_collection(held.collection_id, 'following', 'share row exclusive');
    if coalesce(cardinality(texts), 0) = 0 then
        raise exception 'no column for the text is given' using errcode = 'PGR05', hint = 'Name one, or a title and others.';
    end if;
    if query is not null then
        query := coalesce(
            (select format('select * from %I.%I', nspname, relname)
             from pg_class join pg_namespace on pg_namespace.oid = relnamespace
             where attach.query in (nspname || '.' || relname, format('%I.%I', nspname, relname))),
            regexp_replace(query, '\s*;\s*$', '')
        );
    end if;

    insert into pgretrieval.attachment (collection_id, source, source_name, key_column, text_columns, metadata_columns, query)
    values (held.collection_id, attach.source, source_name, attach.id, attach.texts, coalesce(attach.metadata, '{}'), attach.query)
    returning * into attached;
    select * into pieces from pgretrieval.source_of(attached);

    -- Updates that change nothing of a passage need not be told. Of columns that are computed when they are read a trigger cannot say.
    arguments := array[held.collection_id::text, attach.id];
    if query is null and not exists (
        select from pg_attribute
        where attrelid = attach.source and attgenerated = 'v' and attname = any(attach.texts || attached.metadata_columns)
    ) then
        arguments := arguments || attach.texts || attached.metadata_columns;
    end if;
    perform pgretrieval.lock_briefly(
        format('attaching collection %L', held.name), array[attach.source], 'share row exclusive', descendants => true
    );
    execute format(
        'create trigger %I after insert or update or delete on %s for each row execute function pgretrieval.queue_change(%s)',
        trigger_name, source_name, (select string_agg(quote_literal(argument), ', ' order by place)
                                      from unnest(arguments) with ordinality as given (argument, place))
    );
    execute format(
        'create trigger %I after truncate on %s for each statement execute function pgretrieval.queue_change(%L)',
        trigger_name || '_truncate', source_name, held.collection_id
    );

    -- From here on nobody writes to the table until this commits.
    execute format(
        'select string_agg(quote_literal(key), '', '') from (
             select passage.key from pgretrieval.passage where passage.collection_id = $1
             except
             select %s from %s as source
             limit 5
         ) as stranger',
        pieces.id, pieces.relation
    ) into strangers using held.collection_id;
    if strangers is not null then
        raise exception 'collection % holds passages that % does not have: %', quote_literal(held.name), attached.source_name, strangers
            using errcode = 'PGR05',
                  hint = 'While it is attached a collection holds what its table holds. Delete them, or attach another collection.';
    end if;
    if query is not null then
        execute format(
            'insert into pgretrieval.source_passage (collection_id, bucket, passage_key, source_key)
             select passage.collection_id, passage.bucket, passage.key, min(%s)
             from pgretrieval.passage join %s as source on %s = passage.key
             where passage.collection_id = $1
             group by passage.collection_id, passage.bucket, passage.key',
            pieces.key, pieces.relation, pieces.id
        ) using held.collection_id;
    end if;
    insert into pgretrieval.queue (collection_id, key) values (held.collection_id, null);
end
$function$;
