-- How many passages of a collection the caller may see and `filter` and `among` leave; no more than n are counted.
create or replace function pgretrieval.count_matches(in_collection integer, n integer, filter jsonpath, among text[]) returns integer
language sql stable
begin atomic
    select count(*)::integer
    from (
        select from pgretrieval.passage
        where passage.collection_id = in_collection
          and (filter is null or passage.metadata @@ filter) and (among is null or passage.key = any(among))
        limit n
    ) as matched;
end;
