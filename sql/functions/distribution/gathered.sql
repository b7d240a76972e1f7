-- Returns the rows of a statement: read in another statement, rows of distributed tables are gathered on the coordinator.
create or replace function pgretrieval.gathered(statement text) returns setof record
language plpgsql stable
set search_path from current
as $function$
begin
    return query execute statement;
end
$function$;
