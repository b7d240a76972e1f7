-- Whether a jsonpath is a predicate, which is true or false or unknown of every object. A path alone, such as $.year, is none: `@@` with
-- it finds nothing but fields that are true.
create or replace function pgretrieval.is_predicate(filter jsonpath) returns boolean
language sql immutable parallel safe
begin atomic
    select coalesce(jsonb_typeof(jsonb_path_query_first('{}', filter, '{}', true)) in ('boolean', 'null'), false);
end;
