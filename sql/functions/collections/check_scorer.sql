-- An error that names the value where a collection cannot be made with this scorer, these vectors and this generator of candidates.
create or replace function pgretrieval.check_scorer(scorer text, rerank text, unit_vectors boolean, generator text) returns void
language plpgsql immutable
set search_path from current
as $function$
begin
    if scorer is null or scorer not in ('maxsim', 'xtr', 'colxtr') then
        raise exception 'scorer is %', coalesce(quote_literal(scorer), 'null')
            using errcode = 'PGR05', hint = 'Give maxsim, xtr or colxtr.';
    end if;
    if rerank <> 'maxsim' or rerank is not null and scorer = 'maxsim' then
        raise exception 'rerank is %, scorer is %', quote_literal(rerank), scorer
            using errcode = 'PGR05', hint = 'Give maxsim with scorer xtr or colxtr; leave it out otherwise.';
    end if;
    if unit_vectors is not true and (scorer = 'maxsim' or unit_vectors is null) then
        raise exception 'unit_vectors is %, scorer is %', coalesce(unit_vectors::text, 'null'), scorer
            using errcode = 'PGR05', hint = 'Scores by all tokens are of unit vectors; give scorer xtr or colxtr to keep lengths.';
    end if;
    if generator = 'proxy' and scorer <> 'maxsim' then
        raise exception 'generator is proxy, scorer is %', scorer
            using errcode = 'PGR05', hint = 'Retrieved tokens are the candidates there; leave generator out, or give scorer maxsim.';
    end if;
end
$function$;
