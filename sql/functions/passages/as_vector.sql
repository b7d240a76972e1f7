-- A vector by its text, such as [0.1,0.2], for those who do not know in which schema pgvector is.
create or replace function pgretrieval.as_vector(numbers text) returns @extschema:vector@.vector
language sql stable parallel safe
begin atomic
    select numbers::@extschema:vector@.vector;
end;
