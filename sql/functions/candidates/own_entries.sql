-- Returns rows of a table of postings with only the entries of claimed passages whose tickets are right: of posting, posting_code or
-- word_posting, for the given centroids or words, null for all; without residuals and weights unless `contents`. Runs as the owner of
-- the schema, because postings list passages of all tenants, and restricted roles may not read them.
create or replace function pgretrieval.own_entries(
    relation text, in_collection integer, in_codebook integer, keys text[], claimed pgretrieval.claims, contents boolean default true
) returns table (bucket smallint, centroid_id integer, word text, passage_ids integer[], weights real[], residuals bytea)
language plpgsql stable rows 1000 security definer
set search_path from current
set plan_cache_mode = force_custom_plan
as $function$
declare
    key text := 'centroid_id = any($1::integer[])';
    columns text := 'posting.centroid_id';
    entry text := 'unnest(posting.passage_ids) with ordinality as entry (passage_id, place)';
    own_word text := 'null::text';
    own_weights text := 'null::real[]';
    own_residuals text := 'null::bytea';
    others text;
    proven integer[];
begin
    case relation
        when 'posting' then
            null;
        when 'posting_code' then
            if contents then
                -- Residuals are read once, not piece by piece.
                columns := columns || ', substr(posting.residuals, 1) as residuals,'
                                      ' length(posting.residuals) / cardinality(posting.passage_ids) as width';
                own_residuals := 'string_agg(substr(posting.residuals, 1 + posting.width * (entry.place::integer - 1), posting.width), '''')';
            end if;
        when 'word_posting' then
            key := 'word = any($1 || array(select pgretrieval.shared_word(word) from unnest($1) as asked (word)))';
            columns := 'null::integer as centroid_id, posting.word, posting.weights, posting.words';
            entry := 'unnest(posting.passage_ids, posting.weights, posting.words) as entry (passage_id, weight, word)';
            own_word := 'coalesce(entry.word, posting.word)';
            own_weights := 'array_agg(entry.weight)';
            others := 'and (entry.word is null or $1 is null or entry.word = any($1)) group by entry.word';
    end case;
    -- Statements of their own text are planned for these arrays and as many elements as they have.
    execute format(
        'select array_agg(passage.passage_id)
         from unnest($1, $2) as claim (passage_id, ticket)
         join pgretrieval.passage
             on passage.collection_id = %s and passage.passage_id = claim.passage_id and passage.ticket = claim.ticket',
        in_collection
    ) into proven using claimed.passage_ids, claimed.tickets;
    return query execute format(
        $statement$
        select posting.bucket, posting.centroid_id, own.word, own.passage_ids, own.weights, own.residuals
        from (
            select posting.bucket, posting.passage_ids, %s from pgretrieval.%I as posting where %s
            offset 0
        ) as posting
        cross join lateral (
            select %s as word, array_agg(entry.passage_id) as passage_ids, %s as weights, %s as residuals
            from %s
            where entry.passage_id = any($2) %s
        ) as own
        where own.passage_ids is not null
        $statement$,
        columns, relation,
        concat_ws(' and ', 'posting.collection_id = ' || in_collection, 'posting.codebook_id = ' || in_codebook,
                  case when keys is not null then 'posting.' || key end),
        own_word, own_weights, own_residuals, entry, others
    ) using keys, proven;
end
$function$;
revoke execute on function pgretrieval.own_entries(text, integer, integer, text[], pgretrieval.claims, boolean) from public;
