-- MaxSim (ColBERT, equation 1): for every query token the best inner product with any of the document's tokens, summed.
create or replace function pgretrieval.maxsim(document vector[], query vector[]) returns real
language sql immutable parallel safe
begin atomic
    select sum((select max(-(document_token <#> query_token)) from unnest(document) as document_token))::real
    from unnest(query) as query_token;
end;

create or replace function pgretrieval.maxsim(document halfvec[], query vector[]) returns real
language sql immutable parallel safe
begin atomic
    select sum((select max(-(document_token::vector <#> query_token)) from unnest(document) as document_token))::real
    from unnest(query) as query_token;
end;
