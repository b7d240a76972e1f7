-- An error that names the value where a hybrid search cannot fuse by these.
create or replace function pgretrieval.check_fusion(fusion text, weights double precision[], rank_constant integer) returns void
language plpgsql immutable
set search_path from current
as $function$
begin
    if fusion is null or fusion not in ('score', 'rank') then
        raise exception 'fusion is %', coalesce(quote_literal(fusion), 'null')
            using errcode = 'PGR05', hint = 'Give ''score'' or ''rank''.';
    end if;
    if cardinality(weights) is distinct from 3 or exists (select from unnest(weights) as weight where (abs(weight) <= 1e9) is not true)
       or rank_constant is null or rank_constant < 0 then
        raise exception 'weights are %, rank_constant is %', weights, rank_constant using errcode = 'PGR05',
            hint = 'Give three weights up to 1e9, of late interaction, words and dense vectors, and a constant of at least 0.';
    end if;
end
$function$;
