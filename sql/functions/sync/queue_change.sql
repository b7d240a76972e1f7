-- Runs as trigger of attached tables, in the application's transaction: queues the keys of changed rows. Its arguments are the
-- collection, the key column, and the columns that passages are made of; without these every update counts. Runs as the owner of the
-- schema, since the application's roles have no rights on the queue; therefore it uses no cast of the column's type, which might be
-- anyone's function. It does nothing that can fail or wait by itself: no row of the queue is unique or too long for an index, and it
-- sends no NOTIFY, which takes turns at commit and forbids PREPARE TRANSACTION. Its settings give a key the same text in every session.
create or replace function pgretrieval.queue_change() returns trigger
language plpgsql volatile security definer
set search_path from current
set datestyle = 'ISO, YMD'
set timezone = 'UTC'
set intervalstyle = 'postgres'
set extra_float_digits = 1
set bytea_output = 'hex'
set lc_monetary = 'C'
as $function$
declare
    held_collection constant integer := tg_argv[0];
    old_key text;
    new_key text;
    changed boolean := true;
    used text[];
begin
    if tg_op = 'TRUNCATE' then
        insert into pgretrieval.queue (collection_id, key) values (held_collection, null);
        return null;
    end if;
    begin
        if tg_op = 'INSERT' then
            execute format('select nullif(format(''%%s'', ($1).%I), '''')', tg_argv[1]) into new_key using new;
        elsif tg_op = 'DELETE' then
            execute format('select nullif(format(''%%s'', ($1).%I), '''')', tg_argv[1]) into old_key using old;
        else
            used := tg_argv[1:tg_nargs - 1];
            execute format(
                'select nullif(format(''%%s'', ($1).%1$I), ''''), nullif(format(''%%s'', ($2).%1$I), ''''), %2$s',
                tg_argv[1],
                case when tg_nargs > 2 then (
                    select format('record_image_ne(row(%s), row(%s))', string_agg(format('($1).%I', name), ', '), string_agg(format('($2).%I', name), ', '))
                    from unnest(used) as name
                ) else 'true' end
            ) into old_key, new_key, changed using old, new;
        end if;
    exception when undefined_column then
        -- A column was renamed or dropped. The application goes on; the worker says what is to be done.
        insert into pgretrieval.queue (collection_id, key) values (held_collection, null);
        return null;
    end;
    if changed then
        insert into pgretrieval.queue (collection_id, key)
        select distinct held_collection, key from unnest(array[old_key, new_key]) as key where key is not null;
    end if;
    return null;
end
$function$;
revoke execute on function pgretrieval.queue_change() from public;
