-- An error unless k is a whole number of at least 1, and at most what other depths that follow from it leave room for.
create or replace function pgretrieval.check_depth(k integer) returns void
language plpgsql immutable
set search_path from current
as $function$
begin
    if k is null or k not between 1 and 100000000 then
        raise exception 'k is %', coalesce(k::text, 'null') using errcode = 'PGR05', hint = 'Give a whole number from 1 to 100,000,000.';
    end if;
end
$function$;
