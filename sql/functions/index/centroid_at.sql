-- Returns the centroid number of one token, counted from 0, from the little-endian token_code.centroid_ids of 2 or 4 bytes each.
create or replace function pgretrieval.centroid_at(centroid_ids bytea, token integer, id_bytes integer) returns integer
language sql immutable parallel safe
begin atomic
    select case
        when id_bytes = 2 then get_byte(centroid_ids, 2 * token) | (get_byte(centroid_ids, 2 * token + 1) << 8)
        else get_byte(centroid_ids, 4 * token)
            | (get_byte(centroid_ids, 4 * token + 1) << 8)
            | (get_byte(centroid_ids, 4 * token + 2) << 16)
            | (get_byte(centroid_ids, 4 * token + 3) << 24)
    end;
end;
