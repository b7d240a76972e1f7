-- What the caller may know of a collection: settings, the passages and tokens that the caller sees, and what of an attached table is
-- queued and parked, and what of its factorisation. score_kind is what the scores of a search are MaxSim over: 'vectors' as they were stored, or 'decoded' from codes.
-- drift() says what the last four are.
create or replace function pgretrieval.stats(name text) returns jsonb
language plpgsql stable
set search_path from current
set plan_cache_mode = force_custom_plan
as $function$
declare
    held pgretrieval.collection := pgretrieval.known_collection(stats.name);
begin
    return (
        select jsonb_build_object(
            'name', held.name,
            'dim', held.dim,
            'bits', held.bits,
            'levels', held.levels,
            'generator', held.generator,
            'keep_vectors', held.keep_vectors,
            'vectors_per_passage', held.vectors_per_passage,
            'language', held.language,
            'dense', held.dense,
            'dense_dim', held.dense_dim,
            'built', held.codebook_id is not null,
            'scorer', held.scorer,
            'rerank', held.rerank,
            'unit_vectors', held.unit_vectors,
            'score_kind', case when held.codebook_id is null or held.keep_vectors and 'maxsim' in (held.scorer, held.rerank)
                               then 'vectors' else 'decoded' end,
            'words_cut', pgretrieval.count_cut_words(held),
            'passages', count(*),
            'tokens', coalesce(sum(passage.token_count), 0)
        ) || (pgretrieval.sync_state(held.collection_id) - '{triggers,oldest}'::text[])
          || jsonb_build_object('factorization', pgretrieval.factorization_state(held))
          || (select to_jsonb(drift) from pgretrieval.drift(held) as drift)
        from pgretrieval.passage
        where passage.collection_id = held.collection_id
    );
end
$function$;
