-- Returns the passages that have one of these keys: one index look-up per key, since without statistics, as in a first add, the planner
-- would scan the collection for `= any`.
create or replace function pgretrieval.passages_with_keys(in_collection integer, keys text[])
returns table (key text, title text, body text, metadata jsonb)
language sql stable rows 100
begin atomic
    select found.key, found.title, found.body, found.metadata
    from unnest(keys) as wanted (key)
    cross join lateral (
        select passage.key, passage.title, passage.body, passage.metadata
        from pgretrieval.passage
        where passage.collection_id = in_collection and passage.key = wanted.key
        offset 0
    ) as found;
end;
