-- How many candidates a search in SQL takes for k hits: so many that they have about 60,000 tokens. Errors name the value.
create or replace function pgretrieval.depth_of_candidates(held pgretrieval.collection, k integer, probes integer, candidates integer)
returns integer
language plpgsql stable
set search_path from current
as $function$
begin
    perform pgretrieval.check_depth(k);
    if probes not between 1 and 1000000 then
        raise exception 'probes is %', probes using errcode = 'PGR05', hint = 'Give a whole number from 1 to 1,000,000.';
    end if;
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
