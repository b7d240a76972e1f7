-- Empties partitions at once, for all sessions, and leaves dropping them to drop_leftover: that locks their parents, which all
-- collections use, until the caller's transaction ends. Missing partitions are skipped.
create or replace function pgretrieval.empty_partitions(doing text, partitions text[], seconds double precision default 10) returns void
language plpgsql volatile
set search_path from current
as $function$
declare
    there regclass[] := array(
        select to_regclass(format('pgretrieval.%I', partition))
        from unnest(partitions) with ordinality as given (partition, place)
        where to_regclass(format('pgretrieval.%I', partition)) is not null
        order by place
    );
begin
    if cardinality(there) = 0 then
        return;
    end if;
    perform pgretrieval.lock_briefly(doing, there, 'access exclusive', seconds);
    execute 'truncate ' || array_to_string(there, ', ');
    insert into pgretrieval.leftover (name)
    select relname from pg_class where oid = any(there)
    on conflict do nothing;
end
$function$;
