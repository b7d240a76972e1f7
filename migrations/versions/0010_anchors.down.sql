drop function if exists pgretrieval.candidates_by_anchors(text, real[], integer, jsonpath);
drop function if exists pgretrieval.anchor_items(text);
alter table pgretrieval.collection drop column factorization_id cascade;
drop table pgretrieval.item_embedding, pgretrieval.anchor_item, pgretrieval.factorization, pgretrieval.anchor_score, pgretrieval.anchor_query,
    pgretrieval.score_matrix cascade;
update pgretrieval.passage set token_count = 1 where token_count = 0;
alter table pgretrieval.passage
    drop constraint passage_token_count_check,
    add constraint passage_token_count_check check (token_count > 0);
