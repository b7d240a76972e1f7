-- Has workers look at rows again that no trigger tells of: those of `keys`, or all; after a partition was dropped or detached, when other
-- tables of an attached query have changed, or to try parked keys once more.
create or replace function pgretrieval.resync(name text, keys text[] default null) returns void
language plpgsql volatile
set search_path from current
as $function$
declare
    held pgretrieval.collection := pgretrieval.known_collection(resync.name);
begin
    if not exists (select from pgretrieval.attachment where collection_id = held.collection_id) then
        raise exception 'collection % is not attached to a table', quote_literal(held.name) using errcode = 'PGR05',
            hint = 'Attach it first: pgretrieval.attach, or pgretrieval attach on the command line.';
    end if;
    insert into pgretrieval.queue (collection_id, key)
    select held.collection_id, key from unnest(coalesce(keys, array[null])) as key;
    perform pg_notify('pgretrieval', '');
end
$function$;
