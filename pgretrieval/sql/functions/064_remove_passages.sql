-- Deletes the passages that have one of these keys and match `filter`, null restricting nothing; returns how many. What belongs to them
-- goes at once but for their entries in postings, which the next compaction drops: until then removed_passage names them. Codes that a
-- rebuild has made of them stay until it switches, so that it knows what its own postings list.
create or replace function pgretrieval.remove_passages(in_collection integer, keys text[], filter jsonpath) returns integer
language plpgsql volatile
set search_path from current
as $function$
#variable_conflict use_column
declare
    removed integer[];
    active integer := (select codebook_id from pgretrieval.collection where collection.collection_id = in_collection);
begin
    if keys is null then
        with gone as (
            delete from pgretrieval.passage
            where passage.collection_id = in_collection and (filter is null or passage.metadata @@ filter)
            returning passage.passage_id
        )
        select array_agg(passage_id) into removed from gone;
    else
        with gone as (
            delete from pgretrieval.passage
            where passage.collection_id = in_collection and passage.key = any(keys)
              and (filter is null or passage.metadata @@ filter)
            returning passage.passage_id
        )
        select array_agg(passage_id) into removed from gone;
    end if;
    if removed is null then
        return 0;
    end if;
    delete from pgretrieval.token_vector where token_vector.collection_id = in_collection and token_vector.passage_id = any(removed);
    delete from pgretrieval.dense_vector where dense_vector.collection_id = in_collection and dense_vector.passage_id = any(removed);
    delete from pgretrieval.item_embedding
    where item_embedding.factorization_id = any(array(
        select factorization.factorization_id from pgretrieval.factorization where factorization.collection_id = in_collection
    )) and item_embedding.passage_id = any(removed);
    delete from pgretrieval.anchor_score
    where anchor_score.matrix_id = any(array(
        select score_matrix.matrix_id from pgretrieval.score_matrix where score_matrix.collection_id = in_collection
    )) and anchor_score.passage_id = any(removed);
    if active is not null then
        delete from pgretrieval.token_code
        where token_code.collection_id = in_collection and token_code.codebook_id = active
          and token_code.passage_id = any(removed);
        delete from pgretrieval.proxy where proxy.codebook_id = active and proxy.passage_id = any(removed);
        insert into pgretrieval.removed_passage (collection_id, passage_id) select in_collection, unnest(removed);
    end if;
    return cardinality(removed);
end
$function$;
