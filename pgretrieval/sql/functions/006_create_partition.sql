-- The partition of one number, unless it is there: created alone and attached afterwards, so that nobody who uses the others waits for
-- more than a moment. The check that is dropped again spares the attaching a look at the rows.
create or replace function pgretrieval.create_partition(parent text, key text, number integer) returns void
language plpgsql volatile
set search_path from current
as $function$
declare
    partition text := format('%s_%s', parent, number);
begin
    if to_regclass(format('pgretrieval.%I', partition)) is not null then
        return;
    end if;
    execute format('create table pgretrieval.%I (like pgretrieval.%I including all)', partition, parent);
    execute format('alter table pgretrieval.%I add constraint one_number check (%I = %s)', partition, key, number);
    execute format('alter table pgretrieval.%I attach partition pgretrieval.%I for values in (%s)', parent, partition, number);
    execute format('alter table pgretrieval.%I drop constraint one_number', partition);
end
$function$;
