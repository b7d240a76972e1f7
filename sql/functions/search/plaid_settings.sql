-- Returns the settings of a search in SQL for k hits: centroids probed per query token, candidates, and how many of these are decoded.
-- Raises an error if fewer than k candidates are given.
--
-- Probes are those of the Python client. Candidates and decoded passages are fewer, about 60,000 tokens of candidates, because each
-- costs more in SQL (docs/design/stages.md). tests/sql/test_defaults.py compares both.
create or replace function pgretrieval.plaid_settings(
    held pgretrieval.collection, k integer, given_probes integer, given_candidates integer
) returns table (probes integer, candidates integer, pruning integer)
language plpgsql stable rows 1
set search_path from current
as $function$
declare
    built pgretrieval.codebook;
begin
    if given_candidates < k then
        raise exception 'candidates is %, less than k, %', given_candidates, k
            using errcode = 'PGR05', hint = 'Give at least k.';
    end if;
    select * into built from pgretrieval.codebook c where c.codebook_id = held.codebook_id;
    probes := coalesce(
        given_probes,
        case when k >= 50 or built.passages < 40000 then 8 else 4 end
            -- lists of pooled passages are short (docs/design/pooling.md)
            * case when held.vectors_per_passage is null then 1 when k >= 50 then 8 else 4 end
    );
    candidates := coalesce(
        given_candidates,
        greatest(5 * k, least(1024, greatest(128, 60000 * built.passages / greatest(built.tokens, 1))))
    );
    pruning := greatest(
        64, 5 * k, case when held.vectors_per_passage is not null then least(256, 8192 / held.vectors_per_passage) end
    );
    return next;
end
$function$;
