-- Returns the bucket of a passage, by its id: the first three bytes of the SHA-256 of the id in UTF-8, as a big-endian number, modulo the
-- collection's buckets. The same as pgretrieval/buckets.py, in every version of Postgres.
create or replace function pgretrieval.bucket_of(id text, buckets integer) returns smallint
language sql stable parallel safe
begin atomic
    select case when buckets = 1 then 0::smallint
                else (('x' || encode(substr(sha256(convert_to(id, 'UTF8')), 1, 3), 'hex'))::bit(24)::integer % buckets)::smallint end;
end;
