-- Returns the column with the ids of a table of dense vectors: the given one, or the primary key; null if there is no such table. Raises
-- an error that names the part of schema.table.column that does not fit.
create or replace function pgretrieval.dense_key(dense text, given_key text) returns text
language plpgsql stable
set search_path from current
as $function$
declare
    parts text[] := string_to_array(dense, '.');
    relation regclass;
    vector_type text;
    key text;
begin
    if dense is null or dense in ('kept', 'auto') then
        if given_key is not null then
            raise exception 'dense_key is %, and dense names no table', quote_literal(given_key) using errcode = 'PGR05',
                hint = 'Leave it out, or give dense as schema.table.column.';
        end if;
        return null;
    end if;
    begin
        parts := parse_ident(dense);
        relation := case when cardinality(parts) = 3 then to_regclass(format('%I.%I', parts[1], parts[2])) end;
    exception when invalid_parameter_value then
        relation := null;
    end;
    select type.typname into vector_type
    from pg_attribute as attribute join pg_type as type on type.oid = attribute.atttypid
    where attribute.attrelid = relation and attribute.attname = parts[3] and attribute.attnum > 0 and not attribute.attisdropped
      and type.typnamespace = (select extnamespace from pg_extension where extname = 'vector');
    if cardinality(parts) <> 3 or vector_type is null or vector_type not in ('vector', 'halfvec') then
        raise exception 'dense is %, which is no column of type vector or halfvec', quote_literal(dense) using errcode = 'PGR05',
            hint = 'Give schema.table.column, or ''kept'' for vectors that the collection keeps.';
    end if;
    select attname into key
    from pg_attribute
    where attrelid = relation and attnum > 0 and not attisdropped
      and case when given_key is not null then attname = given_key
               else (select array[attnum] from pg_index where indrelid = relation and indisprimary)
                    = array(select unnest(indkey) from pg_index where indrelid = relation and indisprimary) end;
    if key is null then
        raise exception 'dense_key is %, which is no column of %', coalesce(quote_literal(given_key), 'null'), relation
            using errcode = 'PGR05', hint = 'Name the column that holds the passages'' ids; by default it is a primary key of one column.';
    end if;
    return key;
end
$function$;
