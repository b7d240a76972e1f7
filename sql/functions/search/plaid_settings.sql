-- Returns the settings of a search in SQL for k hits: centroids probed per query token, candidates, and how many of these are decoded.
-- Raises an error if fewer than k candidates are given.
--
-- Three times the client's probes make fewer candidates as good: those with 34,000 tokens, of codes 40,000, of which those with 8,000
-- or 200 k are decoded whole. More query tokens tell passages apart better: with more than 20, of codes 22, there are fewer candidates
-- (docs/design/sql-searches.md). tests/sql/test_defaults.py compares both with the client's.
create or replace function pgretrieval.plaid_settings(
    held pgretrieval.collection, k integer, given_probes integer, given_candidates integer, query_tokens integer
) returns table (probes integer, candidates integer, pruning integer)
language plpgsql stable rows 1
set search_path from current
as $function$
declare
    built pgretrieval.codebook;
    tokens bigint;
    compared integer;
    pooled boolean := held.vectors_per_passage is not null;
begin
    if given_candidates < k then
        raise exception 'candidates is %, less than k, %', given_candidates, k
            using errcode = 'PGR05', hint = 'Give at least k.';
    end if;
    select * into built from pgretrieval.codebook c where c.codebook_id = held.codebook_id;
    tokens := greatest(built.tokens, 1);
    probes := coalesce(
        given_probes,
        case when k >= 50 or built.passages < 40000 then 8 else 4 end
            -- lists of pooled passages are short (docs/design/pooling.md)
            * case when not pooled then 3 when k >= 50 then 8 else 4 end
    );
    compared := case when pooled then 60000
                     when held.keep_vectors then least(34000, 700000 / nullif(query_tokens, 0))
                     else least(40000, 900000 / nullif(query_tokens, 0)) end;
    candidates := coalesce(
        given_candidates,
        greatest(5 * k, least(1024, greatest(64, compared * built.passages / tokens)))
    );
    pruning := greatest(
        case when pooled or held.keep_vectors then greatest(64, 5 * k)
            else greatest(2 * k, least(greatest(128, 5 * k), greatest(8000, 200 * k) * built.passages / tokens)) end,
        case when pooled then least(256, 8192 / held.vectors_per_passage) end
    );
    return next;
end
$function$;
