-- Empties a collection's staged vectors; the space is free at commit, which DELETE would leave to a vacuum.
create or replace function pgretrieval.clear_token_vectors(in_collection integer) returns void
language plpgsql volatile
set search_path from current
as $function$
begin
    execute format('truncate pgretrieval.%I', 'token_vector_' || in_collection);
end
$function$;
