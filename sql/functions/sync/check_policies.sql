-- An error where row-level security of an attached table applies to the caller: policies are code of the table's owner, which would run
-- with the caller's rights, and rows that they hide would count as deleted.
create or replace function pgretrieval.check_policies(source regclass) returns void
language plpgsql stable
set search_path from current
as $function$
begin
    if row_security_active(source) then
        raise exception 'row-level security hides rows of % from role %', pgretrieval.qualified_name(source), quote_ident(current_user)
            using errcode = 'PGR06',
                  hint = 'Rows that a worker does not see would count as deleted; let it work as a role with BYPASSRLS, or as the table''s owner.';
    end if;
end
$function$;
