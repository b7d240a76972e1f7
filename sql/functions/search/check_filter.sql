-- An error where a filter is no predicate, so that it would be true of no passage.
create or replace function pgretrieval.check_filter(filter jsonpath) returns void
language plpgsql immutable
set search_path from current
as $function$
begin
    if filter is not null and not pgretrieval.is_predicate(filter) then
        raise exception 'filter is %, which is no predicate', quote_literal(filter::text)
            using errcode = 'PGR05', hint = 'Compare with something, such as $.year >= 1990 or $.published == true.';
    end if;
end
$function$;
