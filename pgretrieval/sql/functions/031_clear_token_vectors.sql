-- Frees the space of a collection's token vectors where a vacuum has left none: then no snapshot needs any, and the indexes can go too.
create or replace function pgretrieval.clear_token_vectors(in_collection integer) returns void
language plpgsql volatile
set search_path from current
as $function$
declare
    partition text := format('pgretrieval.%I', 'token_vector_' || in_collection);
begin
    perform set_config('lock_timeout', '500ms', true);
    if pg_relation_size(partition::regclass) = 0 then
        execute 'truncate ' || partition;
    end if;
end
$function$;
