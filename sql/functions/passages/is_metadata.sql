-- Whether Python reads these metadata as what they are: an object, whose integers have at most 3,010 digits, and whose other numbers are
-- in the range of a double.
create or replace function pgretrieval.is_metadata(metadata jsonb) returns boolean
language sql immutable parallel safe
begin atomic
    select jsonb_typeof(metadata) = 'object' and not jsonb_path_exists(
        metadata,
        'strict $.** ? (@.type() == "number" && (@.abs() >= 1e3010 || @.abs() > 1.7976931348623157e308 && @ != @.floor()))'
    );
end;
