-- Returns the search options of a collection's preset for k hits: the first row whose limits, hits and passages, hold.
create or replace function pgretrieval.preset_options(held pgretrieval.collection, k integer) returns jsonb
language sql stable
begin atomic
    select coalesce(
        (
            select part.options
            from jsonb_array_elements((held).preset -> 'search') with ordinality as part (options, place)
            left join pgretrieval.codebook on codebook.codebook_id = (held).codebook_id
            where k <= coalesce((part.options ->> 'k')::bigint, k)
              and coalesce(codebook.passages, 0) <= coalesce((part.options ->> 'passages')::bigint, codebook.passages, 0)
            order by part.place limit 1
        ),
        '{}'
    );
end;
