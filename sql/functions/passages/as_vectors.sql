-- Returns an array of vectors of its text, such as {"[0.1,0.2]","[0.3,0.4]"}, wherever pgvector is installed.
create or replace function pgretrieval.as_vectors(numbers text) returns @extschema:vector@.vector[]
language sql stable parallel safe
begin atomic
    select numbers::@extschema:vector@.vector[];
end;
