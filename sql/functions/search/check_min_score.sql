-- Raises an error if the least score of a hit is no finite number of single precision, which scores have.
create or replace function pgretrieval.check_min_score(min_score double precision) returns void
language plpgsql immutable
set search_path from current
as $function$
begin
    if (abs(min_score) <= 3.4e38) is false then
        raise exception 'min_score is %', min_score
            using errcode = 'PGR05', hint = 'Give a finite number from -3.4e38 to 3.4e38, or null to leave out no hit.';
    end if;
end
$function$;
