-- Checks a factorisation: every anchor item has its place, every scored passage an embedding, every embedding a passage and scores, and
-- all have the lengths that the factorisation states.
create or replace function pgretrieval.check_anchors(held pgretrieval.collection)
returns table (rule text, id text, detail text)
language sql stable
begin atomic
    select 'wrong_factorization', format('factorization %s', made.factorization_id), wrong.detail
    from pgretrieval.factorization as made
    join pgretrieval.score_matrix using (matrix_id)
    cross join lateral (
        select format('%s bytes of U, %s of C; %s anchor items, %s anchor queries',
                      length(made.inverse), length(made.intersection), made.anchor_items, score_matrix.queries) as detail
        where length(made.inverse) <> case when score_matrix.per_query is null then 8 * made.anchor_items * score_matrix.queries else 0 end
           or length(made.intersection) <> 4 * made.anchor_items * score_matrix.queries
        union all
        select format('%s anchor items are listed, %s are noted', counted.listed, made.anchor_items)
        from (
            select count(*) as listed, max(place) as last from pgretrieval.anchor_item
            where anchor_item.factorization_id = made.factorization_id
        ) as counted
        where score_matrix.per_query is null
          and (counted.listed, counted.last) is distinct from (made.anchor_items, made.anchor_items)
        union all
        select format('%s of %s anchor items have no direction of as many numbers', counted.without, made.anchor_items)
        from (
            select count(*) as without from pgretrieval.anchor_item
            where anchor_item.factorization_id = made.factorization_id
              and @extschema:vector@.vector_dims(anchor_item.direction) <> made.anchor_items
        ) as counted
        where counted.without > 0
        union all
        select format('%s anchor queries are listed, %s are noted', counted.listed, score_matrix.queries)
        from (
            select count(*) as listed from pgretrieval.anchor_query where anchor_query.matrix_id = made.matrix_id
        ) as counted
        where counted.listed <> score_matrix.queries and not row_security_active('pgretrieval.passage')
    ) as wrong
    where made.factorization_id = (held).factorization_id
    union all
    select 'orphan_row', format('passage_id %s', kept.passage_id), format('a row of %s; there is no such passage', kept.relation)
    from (
        select 'item_embedding' as relation, item_embedding.bucket, item_embedding.passage_id
        from pgretrieval.item_embedding
        where item_embedding.factorization_id = (held).factorization_id
        union all
        select 'anchor_score', anchor_score.bucket, anchor_score.passage_id
        from pgretrieval.anchor_score
        where anchor_score.matrix_id in (
            select score_matrix.matrix_id from pgretrieval.score_matrix where score_matrix.collection_id = (held).collection_id
        )
    ) as kept
    where not exists (
        select from pgretrieval.passage
        where passage.collection_id = (held).collection_id
          and passage.bucket = kept.bucket and passage.passage_id = kept.passage_id
    )
    union all
    select 'wrong_embedding', passage.key, wrong.detail
    from pgretrieval.factorization as made
    join pgretrieval.score_matrix using (matrix_id)
    join pgretrieval.passage on passage.collection_id = (held).collection_id
    join pgretrieval.item_embedding
        on item_embedding.factorization_id = made.factorization_id
        and item_embedding.bucket = passage.bucket and item_embedding.passage_id = passage.passage_id
    left join pgretrieval.anchor_score
        on anchor_score.matrix_id = made.matrix_id
        and anchor_score.bucket = passage.bucket and anchor_score.passage_id = passage.passage_id
    cross join lateral (
        select format('the embedding has %s dimensions, and there are %s anchor items',
                      @extschema:vector@.vector_dims(item_embedding.embedding), made.anchor_items) as detail
        where @extschema:vector@.vector_dims(item_embedding.embedding) <> made.anchor_items
        union all
        select format('%s bytes of scores for %s anchor queries', coalesce(length(anchor_score.scores), 0), score_matrix.queries)
        where case when score_matrix.per_query is null then coalesce(length(anchor_score.scores), 0) not in (2 * score_matrix.queries, 4 * score_matrix.queries)
                   else coalesce(length(anchor_score.scores), 1) % 8 <> 0 end
    ) as wrong
    where made.factorization_id = (held).factorization_id;
end;
