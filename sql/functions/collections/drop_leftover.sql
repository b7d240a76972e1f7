-- Drops one of the empty partitions of dropped collections, replaced codebooks and factorisations; returns false if there is none, or if
-- all are in use. Run it in a transaction of its own: it locks a table of all collections until the transaction ends.
create or replace function pgretrieval.drop_leftover() returns boolean
language plpgsql volatile
set search_path from current
set lock_timeout = '20ms'
as $function$
declare
    found_name text;
    partition regclass;
    parent regclass;
begin
    for found_name in select l.name from pgretrieval.leftover l for update skip locked loop
        begin
            partition := to_regclass(format('pgretrieval.%I', found_name));
            select inhparent into parent from pg_inherits where inhrelid = partition;
            if found then
                execute format('lock table only %s, only %s in access exclusive mode', parent, partition);
            end if;
            execute format('drop table if exists pgretrieval.%I', found_name);
            delete from pgretrieval.leftover l where l.name = found_name;
            return true;
        exception when lock_not_available or deadlock_detected then
            null;
        end;
    end loop;
    return false;
end
$function$;
