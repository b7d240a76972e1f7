-- Stores the codes of new passages inline, up to what a page holds, if every passage has the same number of vectors; else by Postgres's
-- own threshold, beyond which residuals are stored out of line (docs/design/bytes.md).
create or replace function pgretrieval.inline_codes(in_collection integer, vectors_per_passage integer) returns void
language plpgsql volatile
set search_path from current
as $function$
declare
    partition regclass := format('pgretrieval.%I', 'token_code_' || in_collection)::regclass;
    inline boolean := (
        select coalesce('toast_tuple_target=8160' = any(reloptions), false) from pg_class where oid = partition
    );
begin
    if inline <> (inline_codes.vectors_per_passage is not null) then
        execute format('alter table %s %s', partition,
                       case when inline then 'reset (toast_tuple_target)' else 'set (toast_tuple_target = 8160)' end);
    end if;
end
$function$;
