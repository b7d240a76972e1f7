-- Drops an index of a partition, where it is there, and nobody is in the way for longer than half a second; else it stays.
create or replace function pgretrieval.drop_index(partition text, index text) returns boolean
language plpgsql volatile
set search_path from current
as $function$
begin
    if to_regclass(format('pgretrieval.%I', index)) is null then
        return true;
    end if;
    perform pgretrieval.lock_briefly(
        'dropping index ' || index, array[format('pgretrieval.%I', partition)]::regclass[], 'access exclusive', 0.5
    );
    execute format('drop index if exists pgretrieval.%I', index);
    return true;
exception when lock_not_available then
    return false;
end
$function$;
