-- Returns the k best of some scored passages, best first, with the columns of searches, without those that score less than `min_score`.
create or replace function pgretrieval.show(
    held pgretrieval.collection, passage_ids integer[], scores real[], k integer, min_score double precision
) returns table (rank integer, id text, score real, title text, body text, metadata jsonb)
language sql stable rows 10
begin atomic
    select row_number() over (order by best.score desc, best.passage_id)::integer,
           passage.key, best.score, passage.title, passage.body, passage.metadata
    from (
        select scored.passage_id, scored.score
        from unnest(passage_ids, scores) as scored (passage_id, score)
        where min_score is null or scored.score >= min_score::real  -- a score that was shown is reached
        order by scored.score desc, scored.passage_id
        limit k
    ) as best
    join pgretrieval.passage on passage.collection_id = (held).collection_id and passage.passage_id = best.passage_id
    order by best.score desc, best.passage_id;
end;
