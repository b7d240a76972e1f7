-- Frees the space of a collection's token vectors where a vacuum has left none: then no snapshot needs any, and the indexes can go too.
-- Where somebody is in the way for longer than half a second it is left to the next build.
create or replace function pgretrieval.clear_token_vectors(in_collection integer) returns void
language plpgsql volatile
set search_path from current
as $function$
declare
    partition regclass := format('pgretrieval.%I', 'token_vector_' || in_collection)::regclass;
begin
    if pg_relation_size(partition) = 0 then
        perform pgretrieval.lock_briefly('clearing ' || partition, array[partition], 'access exclusive', 0.5);
        execute format('truncate %s', partition);
    end if;
exception when lock_not_available then
    null;
end
$function$;
