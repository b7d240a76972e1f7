-- n fresh passage ids of a collection; ids of rolled-back work are not used again.
create or replace function pgretrieval.reserve_passage_ids(in_collection integer, n integer) returns setof integer
language sql volatile
begin atomic
    select nextval(('pgretrieval.passage_id_' || in_collection)::regclass)::integer from generate_series(1, n);
end;
