-- Drops a collection with its partitions, and detaches it; false where there is none of that name.
create or replace function pgretrieval.drop_collection(name text) returns boolean
language plpgsql volatile
set search_path from current
as $function$
declare
    old_id integer;
    old_dense text;
    old_scorer text;
    parent text;
begin
    perform pgretrieval.detach(c.name) from pgretrieval.collection c where c.name = drop_collection.name;
    select c.collection_id, c.dense, c.scorer into old_id, old_dense, old_scorer
    from pgretrieval.collection c where c.name = drop_collection.name for update;
    if not found then
        return false;
    end if;
    foreach parent in array pgretrieval.partitioned_tables(old_dense, old_scorer) loop
        execute format('drop table pgretrieval.%I', parent || '_' || old_id);
    end loop;
    perform pgretrieval.drop_proxies(codebook_id) from pgretrieval.codebook where collection_id = old_id;
    update pgretrieval.collection set factorization_id = null where collection_id = old_id;
    perform pgretrieval.drop_factorizations(old_id, null, null);
    delete from pgretrieval.collection where collection_id = old_id;
    return true;
end
$function$;
