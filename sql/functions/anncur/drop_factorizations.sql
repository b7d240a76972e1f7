-- Drops a collection's factorisations, and the scores that only these were made of, but for the ones to keep. It gives up after half a
-- second where a search is in the way.
create or replace function pgretrieval.drop_factorizations(in_collection integer, kept_factorization integer, kept_matrix integer)
returns void
language plpgsql volatile
set search_path from current
as $function$
declare
    old_factorizations integer[] := array(
        select f.factorization_id from pgretrieval.factorization f
        where f.collection_id = in_collection and f.factorization_id is distinct from kept_factorization
    );
    old_matrices integer[] := array(
        select m.matrix_id from pgretrieval.score_matrix m
        where m.collection_id = in_collection and m.matrix_id is distinct from kept_matrix
          and not exists (
              select from pgretrieval.factorization f where f.matrix_id = m.matrix_id and f.factorization_id <> all(old_factorizations)
          )
    );
begin
    perform pgretrieval.empty_partitions(
        'dropping factorisations',
        array(select 'item_embedding_' || old_id from unnest(old_factorizations) as old_id)
            || array(select 'anchor_score_' || old_id from unnest(old_matrices) as old_id),
        0.5
    );
    delete from pgretrieval.factorization f where f.factorization_id = any(old_factorizations);
    delete from pgretrieval.score_matrix m where m.matrix_id = any(old_matrices);
end
$function$;
