-- Raises an error if a table lacks columns, with those that it has, or if its row-level security applies to the caller: policies are
-- code of the table's owner, which would run with the caller's rights, and hidden rows would count as deleted.
create or replace function pgretrieval.check_source(source regclass, wanted text[] default '{}') returns void
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
        raise exception '% has no column %', source, (select string_agg(coalesce(quote_literal(name), 'null'), ', ') from unnest(missing) as name)
            using errcode = 'PGR05',
                  hint = format('Its columns are %s. Where one was renamed after the table was attached, detach the collection and attach it again.',
                                (select string_agg(quote_literal(name), ', ') from unnest(there) as name))
                         || case when missing[1] like '%,%' then
                                ' For a key of several columns, attach a query that combines them to an id.' else '' end;
    end if;
    if row_security_active(source) then
        raise exception 'row-level security hides rows of % from role %', source, quote_ident(current_user)
            using errcode = 'PGR06',
                  hint = 'Rows that a worker does not see would count as deleted; let it work as a role with BYPASSRLS, or as the table''s owner.';
    end if;
end
$function$;
