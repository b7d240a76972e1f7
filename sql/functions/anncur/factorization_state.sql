-- What stats() says of a collection's factorisation, null where there is none; counts are of passages that the caller may see.
create or replace function pgretrieval.factorization_state(held pgretrieval.collection) returns jsonb
language plpgsql stable
set search_path from current
set plan_cache_mode = force_custom_plan
as $function$
begin
    if held.factorization_id is null then
        return null;
    end if;
    return (
        select jsonb_build_object(
            'cross_encoder', score_matrix.cross_encoder,
            'anchor_queries', score_matrix.queries,
            'constant_queries', factorization.constant_queries,
            'anchor_items', factorization.anchor_items,
            'anchor_items_gone', factorization.anchor_items - (
                select count(*)
                from pgretrieval.anchor_item
                join pgretrieval.passage
                    on passage.collection_id = held.collection_id and passage.bucket = anchor_item.bucket
                    and passage.passage_id = anchor_item.passage_id
                where anchor_item.factorization_id = factorization.factorization_id
            ),
            'selection', factorization.selection,
            'seed', factorization.seed,
            'element', factorization.element,
            'regularisation', factorization.regularisation,
            'strength', factorization.strength,
            'rank', factorization.rank,
            'condition', nullif(factorization.condition, 'Infinity'),
            'held_out_error', factorization.held_out_error,
            'held_out_recall', factorization.held_out_recall,
            'split', factorization.split,
            'not_scored', (
                select count(*) from pgretrieval.passage
                where passage.collection_id = held.collection_id and not exists (
                    select from pgretrieval.item_embedding
                    where item_embedding.factorization_id = held.factorization_id
                      and item_embedding.bucket = passage.bucket and item_embedding.passage_id = passage.passage_id
                )
            )
        )
        from pgretrieval.factorization
        join pgretrieval.score_matrix using (matrix_id)
        where factorization.factorization_id = held.factorization_id
    );
end
$function$;
