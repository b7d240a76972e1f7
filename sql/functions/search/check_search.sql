-- Raises an error if a search cannot return so many hits, or probe so many centroids, or if its filter is no predicate, and so true of
-- no passage. `named` is the name of the argument with the number of hits.
create or replace function pgretrieval.check_search(filter jsonpath, hits integer, probes integer default null, named text default 'k')
returns void
language plpgsql immutable
set search_path from current
as $function$
begin
    -- A predicate is true or false or unknown of every object.
    if filter is not null
       and coalesce(jsonb_typeof(jsonb_path_query_first('{}', filter, '{}', true)) not in ('boolean', 'null'), true) then
        raise exception 'filter is %, which is a jsonpath but no predicate, so that it is true of no passage', quote_literal(filter::text)
            using errcode = 'PGR05', hint = 'Compare with something, such as $.year >= 1990 or $.published == true.';
    end if;
    if hits is null or hits not between 1 and 100000000 then
        raise exception '% is %', named, coalesce(hits::text, 'null')
            using errcode = 'PGR05', hint = 'Give a whole number from 1 to 100,000,000.';
    end if;
    if probes not between 1 and 1000000 then
        raise exception 'probes is %', probes using errcode = 'PGR05', hint = 'Give a whole number from 1 to 1,000,000.';
    end if;
end
$function$;
