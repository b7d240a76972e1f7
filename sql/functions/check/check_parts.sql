-- Returns the parts of a check. Each is a function check_PART that takes the collection's row.
create or replace function pgretrieval.check_parts() returns text[]
language sql immutable
begin atomic
    select array['passages', 'codes', 'vectors', 'codebook', 'postings', 'posting_codes', 'words', 'orphans', 'changes', 'queue', 'anchors'];
end;
