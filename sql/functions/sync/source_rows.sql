-- Returns the present rows of some keys of an attached collection: what its passages should be.
create or replace function pgretrieval.source_rows(in_collection integer, keys text[])
returns table (key text, id text, texts text[], metadata jsonb)
language plpgsql stable
set search_path from current
set datestyle = 'ISO, YMD'
set timezone = 'UTC'
set intervalstyle = 'postgres'
set extra_float_digits = 1
set bytea_output = 'hex'
set lc_monetary = 'C'
as $function$
declare
    held pgretrieval.attachment;
    pieces record;
    statement text;
begin
    select * into held from pgretrieval.attachment where collection_id = in_collection;
    if not found then
        return;
    end if;
    select * into pieces from pgretrieval.source_of(held);
    statement := format('select %s, %s, %s, %s from %s as source where ', pieces.key, pieces.id, pieces.texts, pieces.metadata, pieces.relation);
    begin
        return query execute statement || pieces.matching using keys;
    exception when data_exception then
        -- One is no value of the key's type, perhaps since the type has changed: none is looked up by an index.
        return query execute statement || pieces.key || ' = any($1)' using keys;
    end;
exception when undefined_table or undefined_column or undefined_function or invalid_schema_name then
    raise exception 'the query that is attached to % fails: %', held.source_name, sqlerrm using errcode = 'PGR05',
        hint = 'It needs columns id and key, and those of texts and metadata, and names of tables and functions with their schema.';
end
$function$;
