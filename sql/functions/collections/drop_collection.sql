-- Drops a collection and detaches it; returns false if there is none of that name. Its tables are empty, and their space is free, once
-- this commits. The empty tables are dropped at once if the statement is a transaction of its own, else by a later call of
-- drop_leftover, so that users of other collections do not wait for this transaction.
create or replace function pgretrieval.drop_collection(name text) returns boolean
language plpgsql volatile
set search_path from current
as $function$
declare
    held pgretrieval.collection;
    doing text := format('dropping collection %L', drop_collection.name);
begin
    select * into held from pgretrieval.collection c where c.name = drop_collection.name;
    if not found then
        return false;
    end if;
    perform pgretrieval.detach(drop_collection.name);
    begin
        perform pgretrieval.empty_partitions(
            doing,
            array(
                select partition.relname
                from pg_class as parent
                join pg_class as partition on partition.relname = parent.relname || '_' || held.collection_id
                where parent.relnamespace = 'pgretrieval'::regnamespace and partition.relnamespace = parent.relnamespace
                  and parent.relkind = 'p' and partition.relispartition
                  and parent.relname not in ('proxy', 'item_embedding', 'anchor_score')  -- whose partitions have numbers of their own
                order by partition.oid
            ) || array(
                select 'proxy_' || codebook_id from pgretrieval.codebook where collection_id = held.collection_id
                union all
                select 'item_embedding_' || factorization_id from pgretrieval.factorization where collection_id = held.collection_id
                union all
                select 'anchor_score_' || matrix_id from pgretrieval.score_matrix where collection_id = held.collection_id
            )
        );
    exception when undefined_table then
        return false;  -- somebody else was faster
    end;
    update pgretrieval.collection set factorization_id = null where collection_id = held.collection_id;
    delete from pgretrieval.collection where collection_id = held.collection_id;
    if not found then
        return false;
    end if;
    if transaction_timestamp() = statement_timestamp() then
        while pgretrieval.drop_leftover() loop
            null;
        end loop;
    end if;
    return true;
end
$function$;
