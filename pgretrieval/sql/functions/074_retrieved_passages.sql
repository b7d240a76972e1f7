-- score_tokens with its defaults, and never fewer than k passages where so many match: until they come, twice as many centroids are probed
-- and twice as many tokens retrieved, in the end all.
create or replace function pgretrieval.retrieved_passages(
    held pgretrieval.collection, query @extschema:vector@.vector[], k integer, probes integer, k_tokens integer, imputation text,
    filter jsonpath, among text[]
) returns table (passage_id integer, score real)
language plpgsql stable rows 1000
set search_path from current
as $function$
#variable_conflict use_column
declare
    centroids integer := (select c.centroid_count from pgretrieval.codebook c where c.codebook_id = held.codebook_id);
    all_tokens constant integer := 2147483647;
    wanted integer;
    found_passages integer[];
    found_scores real[];
begin
    perform pgretrieval.check_token_knobs(k, probes, k_tokens, imputation);
    probes := least(coalesce(probes, 10), centroids);
    k_tokens := coalesce(k_tokens, 300);
    loop
        select array_agg(scored.passage_id), array_agg(scored.score) into found_passages, found_scores
        from pgretrieval.score_tokens(held, query, probes, k_tokens, imputation, filter, among) as scored;
        exit when cardinality(found_passages) > k or k_tokens = all_tokens and probes = centroids;
        wanted := coalesce(wanted, pgretrieval.count_matches(held.collection_id, k, filter, among));
        exit when cardinality(found_passages) > wanted;
        probes := least(2::bigint * probes, centroids);
        k_tokens := case when probes = centroids then all_tokens else least(2::bigint * k_tokens, all_tokens) end;
    end loop;
    return query select * from unnest(found_passages, found_scores);
end
$function$;
