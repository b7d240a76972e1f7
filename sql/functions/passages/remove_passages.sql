-- Deletes the passages that have one of these keys and match `filter`, of which null restricts nothing; returns their number. Their
-- other rows are deleted at once, except entries in postings, which the next compaction drops: until then removed_passage lists them.
-- Codes that a rebuild made of them stay until it switches, so that it knows what its own postings list.
create or replace function pgretrieval.remove_passages(in_collection integer, keys text[], filter jsonpath) returns integer
language plpgsql volatile
set search_path from current
set plan_cache_mode = force_custom_plan
as $function$
#variable_conflict use_column
declare
    removed integer[] := '{}';
    gone integer;
begin
    -- Loops, since Citus accepts no DELETE within another statement.
    if keys is null then
        for gone in
            delete from pgretrieval.passage
            where passage.collection_id = in_collection and (filter is null or passage.metadata @@ filter)
            returning passage.passage_id
        loop
            removed := removed || gone;
        end loop;
    else
        for gone in
            delete from pgretrieval.passage
            where passage.collection_id = in_collection and passage.key = any(keys)
              and (filter is null or passage.metadata @@ filter)
            returning passage.passage_id
        loop
            removed := removed || gone;
        end loop;
    end if;
    if cardinality(removed) = 0 then
        return 0;
    end if;
    perform pgretrieval.forget_passages(in_collection, removed);
    return cardinality(removed);
end
$function$;
