-- Returns for each token of a query the best token of a passage, its similarity, and what it adds to the passage's score in a search with the
-- defaults. Positions count from 1, like elements of arrays. In a collection that is scored by retrieved tokens, a query token that retrieved
-- none of the passage's has the imputed score. As roles under row-level security read the tokens of passages only, not those of all centroids,
-- positions of retrieved tokens are null for them.
create or replace function pgretrieval.token_matches(collection text, query @extschema:vector@.vector[], id text)
returns table (query_position integer, passage_position integer, similarity real, share real, imputed boolean)
language plpgsql stable rows 32
set search_path from current
set plan_cache_mode = force_custom_plan
as $function$
#variable_conflict use_column
declare
    held pgretrieval.collection := pgretrieval.known_collection(token_matches.collection);
    preset jsonb := pgretrieval.preset_options(held, 10);
    explained integer := (
        select passage.passage_id from pgretrieval.passage
        where passage.collection_id = held.collection_id and passage.key = token_matches.id
    );
    reduced real := 1;
begin
    if explained is null then
        raise exception 'no passage % in collection %', coalesce(quote_literal(token_matches.id), 'null'), quote_literal(held.name)
            using errcode = 'PGR05', hint = 'Give the id of a passage that this role may see.';
    end if;
    query := pgretrieval.checked_vectors('the query', query, held.dim);
    if coalesce(preset ->> 'reduction', case held.scorer when 'xtr' then 'mean' end) = 'mean' then
        reduced := cardinality(query);
    end if;
    if held.scorer = 'maxsim' or held.rerank = 'maxsim' or held.codebook_id is null then
        return query
        with token as materialized (
            select * from pgretrieval.passage_vectors(held, explained)
        )
        select asked.place::integer, best.place, best.similarity::real, best.similarity::real / reduced, false
        from unnest(query) with ordinality as asked (vector, place)
        cross join lateral (
            select token.place, -(token.vector operator(@extschema:vector@.<#>) asked.vector) as similarity
            from token
            order by similarity desc, token.place limit 1
        ) as best
        order by asked.place;
        return;
    end if;
    return query
    select asked.place::integer, asked.position + 1, coalesce(asked.score, asked.imputed), coalesce(asked.score, asked.imputed) / reduced,
           asked.score is null
    from pgretrieval.retrieved_passages(
        held, query, 10, (preset ->> 'probes')::integer, (preset ->> 'k_tokens')::integer, coalesce(preset ->> 'imputation', 'kth'),
        null, null, explained
    ) as found
    cross join lateral unnest(found.token_scores, found.token_positions, found.imputed_scores)
        with ordinality as asked (score, position, imputed, place)
    order by asked.place;
end
$function$;
