-- An error that names the value where passages cannot be scored by retrieved tokens with these.
create or replace function pgretrieval.check_token_knobs(k integer, probes integer, k_tokens integer, imputation text) returns void
language plpgsql immutable
set search_path from current
as $function$
begin
    perform pgretrieval.check_depth(k);
    if probes not between 1 and 1000000 or k_tokens not between 1 and 100000000 then
        raise exception 'probes is %, k_tokens is %', coalesce(probes::text, 'null'), coalesce(k_tokens::text, 'null')
            using errcode = 'PGR05', hint = 'Give whole numbers of at least 1, up to 1,000,000 and 100,000,000.';
    end if;
    if imputation is null or imputation !~ '^(kth|warp|zero|[+-]?[0-9]{1,9}(\.[0-9]{1,9})?)$' then
        raise exception 'imputation is %', coalesce(quote_literal(imputation), 'null')
            using errcode = 'PGR05', hint = 'Give kth, warp, zero, or a number such as 0.2.';
    end if;
end
$function$;
