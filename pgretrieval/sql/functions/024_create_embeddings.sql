-- The partition for the item embeddings of one factorisation.
create or replace function pgretrieval.create_embeddings(in_factorization integer) returns void
language plpgsql volatile
set search_path from current
as $function$
declare
    partition text := 'item_embedding_' || in_factorization;
begin
    execute format('create table pgretrieval.%I (like pgretrieval.item_embedding including all)', partition);
    execute format('alter table pgretrieval.%I add constraint one_factorization check (factorization_id = %s)', partition, in_factorization);
    execute format(
        'alter table pgretrieval.item_embedding attach partition pgretrieval.%I for values in (%s)', partition, in_factorization
    );
    execute format('alter table pgretrieval.%I drop constraint one_factorization', partition);
end
$function$;
