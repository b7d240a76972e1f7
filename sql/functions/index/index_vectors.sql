-- Creates the vector index of one partition unless it exists, over all its rows or over those whose `key` is `number`. pgvector requires
-- the dimension in the indexed expression; `options` are those of its index. pgvector before 0.8.4 builds without parallel workers,
-- because its parallel builds are not safe.
create or replace function pgretrieval.index_vectors(
    partition text, dims integer, key text default null, number integer default null,
    vectors text default 'vector', element text default 'halfvec', options text default 'm = 16'
) returns void
language plpgsql volatile
set search_path from current
as $function$
begin
    if (select string_to_array(regexp_replace(extversion, '[^0-9.].*$', ''), '.')::integer[] < array[0, 8, 4]
        from pg_extension where extname = 'vector') then
        perform set_config('max_parallel_maintenance_workers', '0', true);
    end if;
    execute format(
        'create index if not exists %I on pgretrieval.%I using hnsw ((%I::@extschema:vector@.%s(%s)) @extschema:vector@.%s_ip_ops) with (%s) %s',
        concat_ws('_', partition, number, 'hnsw'), partition, vectors, element, dims, element, options,
        case when key is not null then format('where %I = %s', key, number) end
    );
end
$function$;
