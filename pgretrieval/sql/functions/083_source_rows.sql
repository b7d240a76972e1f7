-- The present rows behind keys of an attached collection: what its passages should be.
create or replace function pgretrieval.source_rows(in_collection integer, keys text[])
returns table (key text, id text, texts text[], metadata jsonb)
language plpgsql stable
set search_path from current
as $function$
declare
    held pgretrieval.attachment;
    pieces record;
begin
    select * into held from pgretrieval.attachment where collection_id = in_collection;
    if not found then
        return;
    end if;
    select * into pieces from pgretrieval.source_of(held);
    return query execute format(
        'select format(''%%s'', %s), format(''%%s'', %s), %s, %s from %s as source where %s = any($1::%s[])',
        pieces.key, pieces.id, pieces.texts, pieces.metadata, pieces.relation, pieces.key, pieces.key_type
    ) using keys;
exception when undefined_table or undefined_column or undefined_function or invalid_schema_name then
    raise exception 'the query that is attached to % fails: %', held.source_name, sqlerrm using errcode = 'PGR05',
        hint = 'It needs columns id and key, and those of texts and metadata, and names of tables and functions with their schema.';
end
$function$;
