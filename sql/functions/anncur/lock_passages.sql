-- Returns those of some passages that exist, and keeps them until the transaction ends: a concurrent delete waits for it, and then also
-- deletes the rows that it writes. Of a distributed table Citus locks no rows, so that all changes of the collection wait.
create or replace function pgretrieval.lock_passages(in_collection integer, passage_ids integer[])
returns table (passage_id integer, bucket smallint)
language plpgsql volatile
set search_path from current
set plan_cache_mode = force_custom_plan
as $function$
#variable_conflict use_column
begin
    if pgretrieval.is_distributed() then
        perform pgretrieval.lock_collection(in_collection, 'change', 'share');
        return query
        select passage.passage_id, passage.bucket
        from pgretrieval.passage
        where passage.collection_id = in_collection and passage.passage_id = any(lock_passages.passage_ids)
        order by passage.passage_id;
        return;
    end if;
    return query
    select passage.passage_id, passage.bucket
    from pgretrieval.passage
    where passage.collection_id = in_collection and passage.passage_id = any(lock_passages.passage_ids)
    order by passage.passage_id for key share;
end
$function$;
