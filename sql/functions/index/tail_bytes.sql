-- Returns how many of the last bytes of a passage's residuals are stored in line, so that the rest fills chunks of 1,996 bytes, in which
-- Postgres stores what is out of line, four to a page; none where the row would become too long, or where all of it is in line.
create or replace function pgretrieval.tail_bytes(residuals integer, centroid_ids integer) returns integer
language sql immutable parallel safe
begin atomic
    select case when residuals > 1996 and centroid_ids + residuals % 1996 <= 1950 then residuals % 1996 else 0 end;
end;
