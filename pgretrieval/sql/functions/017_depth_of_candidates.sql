-- How many candidates a search in SQL scores exactly for k hits. Fewer where every token must be decoded. Errors name the value.
create or replace function pgretrieval.depth_of_candidates(held pgretrieval.collection, k integer, probes integer, candidates integer)
returns integer
language plpgsql immutable
set search_path from current
as $function$
begin
    perform pgretrieval.check_depth(k);
    if probes < 1 then
        raise exception 'probes is %', probes using errcode = 'PGR05', hint = 'Give a whole number of at least 1.';
    end if;
    if candidates < k then
        raise exception 'candidates is %, less than the % hits asked for', candidates, k
            using errcode = 'PGR05', hint = 'Give at least k.';
    end if;
    return coalesce(candidates, greatest(case when held.keep_vectors then 128 else 64 end, 5 * k));
end
$function$;
