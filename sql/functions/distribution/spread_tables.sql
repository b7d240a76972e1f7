-- Returns the tables that are distributed over the workers of a Citus cluster, the first of which the others are placed beside.
create or replace function pgretrieval.spread_tables() returns text[]
language sql immutable parallel safe
begin atomic
    select array[
        'passage', 'token_vector', 'dense_vector', 'token_code', 'posting', 'posting_code', 'word_posting', 'proxy', 'anchor_score',
        'item_embedding'
    ];
end;
