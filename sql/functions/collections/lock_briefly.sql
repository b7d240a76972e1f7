-- Locks tables until the transaction ends, with their partitions if `descendants`. A waiting lock request blocks all later ones, so each
-- attempt is short, releases what it got, and is repeated after a pause, for `seconds`. Then an error names the sessions that hold the
-- tables.
create or replace function pgretrieval.lock_briefly(
    doing text, relations regclass[], lock_mode text, seconds double precision default 10, descendants boolean default false
) returns void
language plpgsql volatile
set search_path from current
set lock_timeout = '50ms'
as $function$
declare
    until timestamptz := clock_timestamp() + make_interval(secs => seconds);
    pause real := 0.05;
    holders text;
begin
    loop
        begin
            execute format(
                'lock table %s in %s mode',
                (select string_agg(case when descendants then '' else 'only ' end || relation::text, ', ' order by place)
                 from unnest(relations) with ordinality as given (relation, place)),
                lock_mode
            );
            return;
        exception when lock_not_available or deadlock_detected then
            null;
        end;
        exit when clock_timestamp() >= until;
        perform pg_sleep(pause * (0.5 + random()));
        pause := least(2 * pause, 1);
    end loop;
    select string_agg(format('%s uses %s', session, used), ', ') into holders
    from (
        select coalesce('process ' || held.pid || coalesce(' (' || nullif(other.state, '') || ')', ''), 'a prepared transaction') as session,
               string_agg(distinct held.relation::regclass::text, ' and ') as used
        from pg_locks as held
        left join pg_stat_activity as other using (pid)
        where held.granted and held.database = (select oid from pg_database where datname = current_database())
          and held.relation = any (
              select relation from unnest(relations) as relation
              union all
              select tree.relid from unnest(relations) as relation, pg_partition_tree(relation) as tree where descendants
          )
          and held.pid is distinct from pg_backend_pid()
          and (lock_mode = 'access exclusive' or held.mode not in ('AccessShareLock', 'RowShareLock'))
          and (lock_mode <> 'share update exclusive' or held.mode <> 'RowExclusiveLock')
        group by 1
    ) as holding;
    raise exception '% needs tables that other sessions kept in use for % seconds: %', doing, seconds, coalesce(holders, 'they have gone now')
        using errcode = 'lock_not_available',
              hint = 'Nothing was changed. Let these transactions end, or end the sessions by pg_terminate_backend, then do the same again.';
end
$function$;
