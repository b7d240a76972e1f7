-- Returns pieces of SQL that read a collection's dense vectors, over the alias `vectors`; $1 is the query's. The collection's own are
-- compared by inner product, those of an application's table by the operator of the column's vector index, or by cosine without one.
-- `of_vector` finds the passage of a row of vectors by index, `of_passage` the row of a passage.
create or replace function pgretrieval.dense_source(held pgretrieval.collection)
returns table (source text, wanted text, keys text, distance text, of_vector text, of_passage text)
language plpgsql stable rows 1
set search_path from current
set plan_cache_mode = force_custom_plan
as $function$
#variable_conflict use_column
declare
    parts text[];
    relation regclass;
    vector_type text;
    key_type text;
    key_is_plain boolean;
    key_column text;
    operator text;
begin
    if held.dense is null or held.dense = 'auto' and held.dense_dim is null then
        raise exception 'collection % has no dense vectors', quote_literal(held.name) using errcode = 'PGR05',
            hint = 'Create it with dense => ''kept'' or schema.table.column, or search without dense vectors.';
    end if;
    if held.dense in ('kept', 'auto') then
        return query select
            'pgretrieval.dense_vector',
            format('vectors.collection_id = %s and vectors.encoding = %s', held.collection_id, held.dense_encoding),
            'vectors.bucket, vectors.passage_id',
            format('vectors.vector::@extschema:vector@.halfvec(%s) operator(@extschema:vector@.<#>) ($1)::@extschema:vector@.halfvec(%1$s)', coalesce(held.dense_dim, 1)),
            'passage.bucket = vectors.bucket and passage.passage_id = vectors.passage_id',
            'vectors.bucket = passage.bucket and vectors.passage_id = passage.passage_id';
        return;
    end if;
    parts := parse_ident(held.dense);
    key_column := format('vectors.%I', held.dense_key);
    relation := to_regclass(format('%I.%I', parts[1], parts[2]));
    select typname into vector_type
    from pg_attribute join pg_type on pg_type.oid = atttypid
    where attrelid = relation and attname = parts[3] and typnamespace = (select extnamespace from pg_extension where extname = 'vector');
    select typname, pgretrieval.is_plain(pg_type.oid) into key_type, key_is_plain
    from pg_attribute join pg_type on pg_type.oid = atttypid
    where attrelid = relation and attname = held.dense_key;
    if vector_type is null or key_type is null then
        raise exception 'collection % takes dense vectors from %, by %, which is not there any more',
            quote_literal(held.name), held.dense, quote_ident(held.dense_key)
            using errcode = 'PGR05', hint = 'Bring the column back, or leave dense vectors out of the search.';
    end if;
    if not key_is_plain then
        raise exception 'the ids of %, in column %, are of type %, whose casts may be functions of whoever owns it',
            held.dense, quote_ident(held.dense_key), quote_ident(key_type)
            using errcode = 'PGR05', hint = 'Searches would run them: give the column a type of Postgres''s own, such as text, bigint or uuid.';
    end if;
    select case when opcname like '%\_ip\_ops' then '<#>' when opcname like '%\_l2\_ops' then '<->' end into operator
    from pg_index
    join pg_attribute on attrelid = indrelid and attnum = indkey[0]
    join pg_opclass on pg_opclass.oid = indclass[0]
    join pg_am on pg_am.oid = opcmethod
    where indrelid = relation and attname = parts[3] and amname in ('hnsw', 'ivfflat') and indisvalid
    order by indexrelid limit 1;
    return query select
        relation::text,
        format('vectors.%I is not null', parts[3]),
        key_column,
        format('vectors.%I operator(@extschema:vector@.%s) ($1)::@extschema:vector@.%I', parts[3], coalesce(operator, '<=>'), vector_type),
        'passage.key = ' || key_column || '::text',
        key_column || case
            when key_type in ('text', 'varchar') then ' = passage.key'
            when key_type in ('int2', 'int4', 'int8') then ' = case when passage.key ~ ''^-?[0-9]{1,18}$'' then passage.key::bigint end'
            when key_type = 'uuid' then ' = case when passage.key ~ ''^[0-9a-f-]{36}$'' then passage.key::uuid end'
            else '::text = passage.key'
        end;
end
$function$;
