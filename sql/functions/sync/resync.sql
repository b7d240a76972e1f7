-- Queues rows that no trigger reports: those of `keys`, or all; for example after a partition was dropped or detached, when other tables
-- of an attached query have changed, or to try parked keys again.
create or replace function pgretrieval.resync(name text, keys text[] default null) returns void
language plpgsql volatile
set search_path from current
set datestyle = 'ISO, YMD'
set timezone = 'UTC'
set intervalstyle = 'postgres'
set extra_float_digits = 1
set bytea_output = 'hex'
set lc_monetary = 'C'
as $function$
declare
    held pgretrieval.collection := pgretrieval.known_collection(resync.name);
    attached pgretrieval.attachment;
begin
    select * into attached from pgretrieval.attachment where collection_id = held.collection_id;
    if not found then
        raise exception 'collection % is not attached to a table', quote_literal(held.name) using errcode = 'PGR05',
            hint = 'Attach it first: pgretrieval.attach, or pgretrieval attach on the command line.';
    end if;
    if keys is null then
        insert into pgretrieval.queue (collection_id, key) values (held.collection_id, null);
        return;
    end if;
    -- As triggers write them: 2024-01-01 for 20240101.
    attached.query := null;
    attached.text_columns := '{}';
    attached.metadata_columns := '{}';
    execute format(
        'insert into pgretrieval.queue (collection_id, key)
         select $1, %s from unnest($2) as given (key) where given.key <> ''''',
        (select given_key from pgretrieval.source_of(attached))
    ) using held.collection_id, keys;
exception when data_exception then
    raise exception 'keys are %, of which one is no key of %: %', keys, attached.source_name, sqlerrm
        using errcode = 'PGR05', hint = 'Give values of its key column, as text.';
end
$function$;
