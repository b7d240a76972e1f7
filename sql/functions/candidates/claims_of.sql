-- The passages of a collection that the caller may see and that `filter` and `among` leave, with their tickets: what functions that read
-- tables which all tenants share are asked with.
create or replace function pgretrieval.claims_of(in_collection integer, filter jsonpath default null, among text[] default null)
returns pgretrieval.claims
language sql stable
begin atomic
    select row(array_agg(passage.passage_id), array_agg(passage.ticket))::pgretrieval.claims
    from pgretrieval.passage
    where passage.collection_id = in_collection
      and (filter is null or passage.metadata @@ filter) and (among is null or passage.key = any(among));
end;
