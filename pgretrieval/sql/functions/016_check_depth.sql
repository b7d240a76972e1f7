-- An error unless k is a whole number of at least 1.
create or replace function pgretrieval.check_depth(k integer) returns void
language plpgsql immutable
set search_path from current
as $function$
begin
    if k is null or k < 1 then
        raise exception 'k is %', coalesce(k::text, 'null') using errcode = 'PGR05', hint = 'Give a whole number of at least 1.';
    end if;
end
$function$;
