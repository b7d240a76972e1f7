-- Returns a vector of its text, such as [0.1,0.2], wherever pgvector is installed.
create or replace function pgretrieval.as_vector(numbers text) returns @extschema:vector@.vector
language sql stable parallel safe
begin atomic
    select numbers::@extschema:vector@.vector;
end;
