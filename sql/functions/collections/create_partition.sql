-- Creates the partition of one number unless it exists. It is created by itself and then attached, so that users of other partitions
-- wait only for a moment; a check constraint, dropped afterwards, spares attaching a scan of the rows. Only the owner has rights on it,
-- whatever default privileges say: policies are on the parent.
create or replace function pgretrieval.create_partition(parent text, key text, number integer) returns void
language plpgsql volatile
set search_path from current
as $function$
declare
    partition text := format('%s_%s', parent, number);
    grantee text;
begin
    if to_regclass(format('pgretrieval.%I', partition)) is not null then
        return;
    end if;
    perform pgretrieval.lock_briefly(
        'making table ' || partition, array[format('pgretrieval.%I', parent)]::regclass[], 'share update exclusive'
    );
    if to_regclass(format('pgretrieval.%I', partition)) is not null then
        return;
    end if;
    execute format('create table pgretrieval.%I (like pgretrieval.%I including all)', partition, parent);
    for grantee in
        select distinct case when acl.grantee = 0 then 'public' else quote_ident(pg_get_userbyid(acl.grantee)) end
        from pg_class as made cross join lateral aclexplode(made.relacl) as acl
        where made.oid = to_regclass(format('pgretrieval.%I', partition)) and acl.grantee <> made.relowner
    loop
        execute format('revoke all on pgretrieval.%I from %s', partition, grantee);
    end loop;
    execute format('alter table pgretrieval.%I add constraint one_number check (%I = %s)', partition, key, number);
    execute format('alter table pgretrieval.%I attach partition pgretrieval.%I for values in (%s)', parent, partition, number);
    execute format('alter table pgretrieval.%I drop constraint one_number', partition);
end
$function$;
