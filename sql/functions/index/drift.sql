-- How well the active codebook fits what was added after its training. Errors are means over tokens of 1 - cosine between a vector and
-- what its code decodes to: of the training, and of passages added since. A rebuild pays where these are more than a tenth of all and
-- their error is more than a tenth larger (docs/design/codec.md). Nulls where row-level security hides passages, or nothing was measured.
create or replace function pgretrieval.drift(held pgretrieval.collection)
returns table (
    quantization_error double precision, added_passages bigint, added_quantization_error double precision, rebuild_pays boolean
)
language sql stable
begin atomic
    select codebook.quantization_error, added.passages, added.quantization_error,
           coalesce(
               added.quantization_error > 1.1 * codebook.quantization_error
               and added.passages > 0.1 * (codebook.passages + added.passages),
               false
           )
    from (select 1) as always
    left join pgretrieval.codebook on codebook.codebook_id = (held).codebook_id and not row_security_active('pgretrieval.passage')
    left join lateral (
        select coalesce(sum(segment.passages), 0)::bigint as passages,
               sum(segment.quantization_error * segment.tokens)
                   / nullif(sum(segment.tokens) filter (where segment.quantization_error is not null), 0) as quantization_error
        from pgretrieval.segment
        where segment.collection_id = codebook.collection_id and segment.codebook_id = codebook.codebook_id
    ) as added on codebook.codebook_id is not null;
end;
