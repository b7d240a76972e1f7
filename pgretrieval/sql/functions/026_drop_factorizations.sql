-- Drops a collection's factorisations, and the scores that only these were made of, but for the ones to keep.
create or replace function pgretrieval.drop_factorizations(in_collection integer, kept_factorization integer, kept_matrix integer)
returns void
language plpgsql volatile
set search_path from current
as $function$
declare
    old_id integer;
begin
    for old_id in
        select f.factorization_id from pgretrieval.factorization f
        where f.collection_id = in_collection and f.factorization_id is distinct from kept_factorization
    loop
        execute format('drop table if exists pgretrieval.%I', 'item_embedding_' || old_id);
        delete from pgretrieval.factorization f where f.factorization_id = old_id;
    end loop;
    for old_id in
        select m.matrix_id from pgretrieval.score_matrix m
        where m.collection_id = in_collection and m.matrix_id is distinct from kept_matrix
          and not exists (select from pgretrieval.factorization f where f.matrix_id = m.matrix_id)
    loop
        execute format('drop table if exists pgretrieval.%I', 'anchor_score_' || old_id);
        delete from pgretrieval.score_matrix m where m.matrix_id = old_id;
    end loop;
end
$function$;
