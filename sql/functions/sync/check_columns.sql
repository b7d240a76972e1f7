-- An error that names the columns which a table does not have, and those that it has.
create or replace function pgretrieval.check_columns(source regclass, wanted text[]) returns void
language plpgsql stable
set search_path from current
as $function$
declare
    there text[] := array(
        select attname::text from pg_attribute where attrelid = source and attnum > 0 and not attisdropped order by attnum
    );
    missing text[] := array(select name from unnest(wanted) as name where name is null or name <> all(there));
begin
    if cardinality(missing) > 0 then
        raise exception '% has no column %', pgretrieval.qualified_name(source), (select string_agg(coalesce(quote_literal(name), 'null'), ', ') from unnest(missing) as name)
            using errcode = 'PGR05',
                  hint = format('Its columns are %s. Where one was renamed after the table was attached, detach the collection and attach it again.',
                                (select string_agg(quote_literal(name), ', ') from unnest(there) as name))
                         || case when missing[1] like '%,%' then
                                ' A key of several columns does not do: attach a query that makes one id of them.' else '' end;
    end if;
end
$function$;
