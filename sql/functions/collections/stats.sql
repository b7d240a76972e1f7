-- Returns what the caller may know of a collection: its settings; the number of passages and tokens that the caller sees, and of
-- passages with too many words for searches to find all (only texts of more than 200,000 bytes are read for it); queued and parked
-- changes of an attached table; the factorisation, with counts of visible passages; and how well the active codebook fits passages added
-- after its training. score_kind says what scores are computed from: 'vectors' as they were stored, or 'decoded' from codes.
--
-- A quantisation error is the mean over tokens of 1 - cosine between a vector and its decoded code, of the training or of passages added
-- since. A rebuild pays if these are more than a tenth of all and their error is more than a tenth larger (docs/design/codec.md). The
-- errors are null if row-level security hides passages, or if nothing was measured.
create or replace function pgretrieval.stats(name text) returns jsonb
language plpgsql stable
set search_path from current
set plan_cache_mode = force_custom_plan
as $function$
declare
    held pgretrieval.collection := pgretrieval.known_collection(stats.name);
    words_cut bigint;
    anchors bigint;
    not_scored bigint;
begin
    -- Passages are counted by statements of their own, which shards of a distributed table can run.
    if held.language is not null then
        select count(*) into words_cut
        from pgretrieval.passage
        where passage.collection_id = held.collection_id
          and coalesce(octet_length(passage.title), 0) + octet_length(passage.body) > 200000
          and (pgretrieval.word_vector(held.language::regconfig, passage.title, passage.body)).cut;
    end if;
    if held.factorization_id is not null then
        select count(*) into anchors
        from pgretrieval.anchor_item
        join pgretrieval.passage
            on passage.collection_id = held.collection_id and passage.bucket = anchor_item.bucket
            and passage.passage_id = anchor_item.passage_id
        where anchor_item.factorization_id = held.factorization_id;
        select count(*) into not_scored
        from pgretrieval.passage
        where passage.collection_id = held.collection_id and not exists (
            select from pgretrieval.item_embedding
            where item_embedding.factorization_id = held.factorization_id
              and item_embedding.bucket = passage.bucket and item_embedding.passage_id = passage.passage_id
        );
    end if;
    return (
        select jsonb_build_object(
            'name', held.name,
            'dim', held.dim,
            'bits', held.bits,
            'buckets', held.buckets,
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
            'preset', held.preset,
            'score_kind', case when held.codebook_id is null or held.keep_vectors and 'maxsim' in (held.scorer, held.rerank)
                               then 'vectors' else 'decoded' end,
            'passages', counted.passages,
            'tokens', counted.tokens
        )
        from (
            select count(*) as passages, coalesce(sum(passage.token_count), 0) as tokens
            from pgretrieval.passage
            where passage.collection_id = held.collection_id
        ) as counted
    ) || jsonb_build_object('words_cut', words_cut) || (pgretrieval.sync_state(held.collection_id) - '{triggers,oldest}'::text[]) || jsonb_build_object('factorization', (
        select jsonb_build_object(
            'cross_encoder', score_matrix.cross_encoder,
            'anchor_queries', score_matrix.queries,
            'per_query', score_matrix.per_query,
            'constant_queries', factorization.constant_queries,
            'anchor_items', case when score_matrix.per_query is null then factorization.anchor_items else 0 end,
            'anchor_items_gone', case when score_matrix.per_query is null then factorization.anchor_items else 0 end - anchors,
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
            'not_scored', not_scored
        )
        from pgretrieval.factorization
        join pgretrieval.score_matrix using (matrix_id)
        where factorization.factorization_id = held.factorization_id
    )) || (
        select jsonb_build_object(
            'quantization_error', codebook.quantization_error,
            'added_passages', added.passages,
            'added_quantization_error', added.quantization_error,
            'rebuild_pays', coalesce(
                added.quantization_error > 1.1 * codebook.quantization_error
                and added.passages > 0.1 * (codebook.passages + added.passages),
                false
            )
        )
        from (select) as always
        left join pgretrieval.codebook on codebook.codebook_id = held.codebook_id and not row_security_active('pgretrieval.passage')
        left join lateral (
            select coalesce(sum(segment.passages), 0)::bigint as passages,
                   sum(segment.quantization_error * segment.tokens)
                       / nullif(sum(segment.tokens) filter (where segment.quantization_error is not null), 0) as quantization_error
            from pgretrieval.segment
            where segment.collection_id = codebook.collection_id and segment.codebook_id = codebook.codebook_id
        ) as added on codebook.codebook_id is not null
    );
end
$function$;
