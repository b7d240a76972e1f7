-- How many candidates a search in SQL takes for k hits: so many that they have about 60,000 tokens. An error where fewer than k are given.
create or replace function pgretrieval.depth_of_candidates(held pgretrieval.collection, k integer, candidates integer)
returns integer
language plpgsql stable
set search_path from current
as $function$
begin
    if candidates < k then
        raise exception 'candidates is %, less than the % hits asked for', candidates, k
            using errcode = 'PGR05', hint = 'Give at least k.';
    end if;
    return coalesce(
        candidates,
        (
            select greatest(5 * k, least(1024, greatest(128, 60000 * c.passages / greatest(c.tokens, 1))))
            from pgretrieval.codebook c where c.codebook_id = held.codebook_id
        ),
        k
    );
end
$function$;
