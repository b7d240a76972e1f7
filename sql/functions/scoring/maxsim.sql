-- MaxSim (ColBERT, equation 1): for every query token the best inner product with any of the document's tokens, summed.
create or replace function pgretrieval.maxsim(document @extschema:vector@.vector[], query @extschema:vector@.vector[]) returns real
language sql immutable parallel safe
begin atomic
    select sum((select max(-(document_token operator(@extschema:vector@.<#>) query_token)) from unnest(document) as document_token))::real
    from unnest(query) as query_token;
end;

create or replace function pgretrieval.maxsim(document @extschema:vector@.halfvec[], query @extschema:vector@.vector[]) returns real
language sql immutable parallel safe
begin atomic
    select sum((select max(-(document_token::@extschema:vector@.vector operator(@extschema:vector@.<#>) query_token)) from unnest(document) as document_token))::real
    from unnest(query) as query_token;
end;
