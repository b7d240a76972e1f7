-- Returns the settings of a search in SQL for k hits: centroids probed per query token, candidates, and how many of these are decoded.
-- Raises an error if fewer than k candidates are given.
--
-- Stored vectors: the client's probes where SQL adds the postings up, as with filters, and candidates with about 60,000 tokens, because
-- each costs more in SQL. Codes: three times as many probes, so that candidates with 40,000 tokens are as good; those with 8,000 are
-- decoded whole (docs/design/sql-searches.md). tests/sql/test_defaults.py compares both with the client's.
create or replace function pgretrieval.plaid_settings(
    held pgretrieval.collection, k integer, given_probes integer, given_candidates integer
) returns table (probes integer, candidates integer, pruning integer)
language plpgsql stable rows 1
set search_path from current
as $function$
declare
    built pgretrieval.codebook;
    tokens bigint;
    decoded boolean;
begin
    if given_candidates < k then
        raise exception 'candidates is %, less than k, %', given_candidates, k
            using errcode = 'PGR05', hint = 'Give at least k.';
    end if;
    select * into built from pgretrieval.codebook c where c.codebook_id = held.codebook_id;
    tokens := greatest(built.tokens, 1);
    decoded := not held.keep_vectors and held.vectors_per_passage is null;
    probes := coalesce(
        given_probes,
        case when k >= 50 or built.passages < 40000 then 8 else 4 end
            * case when decoded then 3 else 1 end
            -- lists of pooled passages are short (docs/design/pooling.md)
            * case when held.vectors_per_passage is null then 1 when k >= 50 then 8 else 4 end
    );
    candidates := coalesce(
        given_candidates,
        greatest(5 * k, least(1024, greatest(128, case when decoded then 40000 else 60000 end * built.passages / tokens)))
    );
    pruning := greatest(
        case when decoded then greatest(2 * k, least(64, 8000 * built.passages / tokens)) else greatest(64, 5 * k) end,
        case when held.vectors_per_passage is not null then least(256, 8192 / held.vectors_per_passage) end
    );
    return next;
end
$function$;
