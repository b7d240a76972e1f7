-- The tables that have one partition for each collection; that of dense vectors only where the collection keeps them, that of tokens by
-- centroid only where these give the scores.
create or replace function pgretrieval.partitioned_tables(dense text, scorer text default 'maxsim') returns text[]
language sql immutable
begin atomic
    select array['change_lock', 'build_lock', 'following_lock', 'centroid', 'passage', 'token_vector', 'token_code', 'posting', 'word_posting']
           || case when dense = 'kept' then array['dense_vector'] end
           || case when scorer <> 'maxsim' then array['posting_code'] end;
end;
