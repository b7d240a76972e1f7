-- Stores one passage with its token vectors, null in a collection of texts only: quantised at once if the collection has an index, else
-- kept until the first build.
create or replace function pgretrieval.add_passage(
    collection text, id text, body text, vectors @extschema:vector@.vector[], title text default null, metadata jsonb default '{}',
    dense @extschema:vector@.vector default null
) returns void
language plpgsql volatile
set search_path from current
set plan_cache_mode = force_custom_plan
as $function$
#variable_conflict use_column
declare
    held pgretrieval.collection := pgretrieval.known_collection(add_passage.collection);
    unit @extschema:vector@.vector[];
    texts_alone boolean;
    new_id integer;
    new_bucket smallint;
    new_centroids bytea;
    new_residuals bytea;
    new_rows integer;
begin
    held := pgretrieval.lock_for_change(held.collection_id);
    texts_alone := coalesce(held.encoder ->> 'kind' = 'none', false);
    if coalesce(add_passage.id, '') !~ '\S' then
        raise exception 'the id is missing, empty or blank' using errcode = 'PGR05', hint = 'Give each passage its own id.';
    end if;
    if octet_length(add_passage.id) > 2000 then
        raise exception 'the id %… has % bytes in UTF-8', quote_literal(left(add_passage.id, 60)), octet_length(add_passage.id)
            using errcode = 'PGR05', hint = 'The maximum is 2,000.';
    end if;
    if coalesce(add_passage.body, '') !~ '\S' then
        raise exception 'passage %: the body is missing, empty or blank', quote_literal(add_passage.id)
            using errcode = 'PGR05', hint = 'Leave the passage out, or give it a text.';
    end if;
    if add_passage.title !~ '\S' then
        add_passage.title := null;
    end if;
    -- What Python reads as it is.
    if jsonb_typeof(add_passage.metadata) <> 'object' or jsonb_path_exists(
        add_passage.metadata,
        'strict $.** ? (@.type() == "number" && (@.abs() >= 1e3010 || @.abs() > 1.7976931348623157e308 && @ != @.floor()))'
    ) then
        raise exception 'passage %: the metadata is %', quote_literal(add_passage.id), left(add_passage.metadata::text, 200) using errcode = 'PGR05',
            hint = 'Give an object; its integers may have 3,010 digits, its other numbers must be in the range of a double.';
    end if;
    if held.codebook_id is not null and exists (select from pgretrieval.proxy_model m where m.codebook_id = held.codebook_id) then
        raise exception 'collection % finds candidates by learned proxies, which only the Python client computes', quote_literal(held.name)
            using errcode = 'PGR06', hint = 'Add the passage with the Python client.';
    end if;
    if not texts_alone then
        add_passage.vectors := pgretrieval.checked_vectors(format('passage %L', add_passage.id), add_passage.vectors, held.dim);
        if cardinality(add_passage.vectors) <> held.vectors_per_passage then
            raise exception 'passage % has % vectors, but every passage of this collection has % (vectors_per_passage)',
                quote_literal(add_passage.id), cardinality(add_passage.vectors), held.vectors_per_passage
                using errcode = 'PGR05', hint = 'Give as many, or create a collection without vectors_per_passage.';
        end if;
    elsif add_passage.vectors is not null then
        raise exception 'collection % stores texts only (encoder of kind none)', quote_literal(held.name)
            using errcode = 'PGR05', hint = 'Give null for vectors.';
    end if;
    add_passage.dense := pgretrieval.checked_dense(held, format('passage %L', add_passage.id), add_passage.dense);
    if held.dense = 'kept' and add_passage.dense is null then
        raise exception 'collection % stores dense vectors, and passage % has none', quote_literal(held.name), quote_literal(add_passage.id)
            using errcode = 'PGR05', hint = 'Give dense => its vector.';
    elsif held.dense not in ('kept', 'auto') is not false and add_passage.dense is not null then
        raise exception 'collection % stores no dense vectors', quote_literal(held.name)
            using errcode = 'PGR05', hint = 'Create it with dense => ''kept'', or leave dense out.';
    elsif add_passage.dense is not null and not (held.given_dense and held.dense_dim is not null) then
        perform pgretrieval.settle(
            held.collection_id, null, null, false, @extschema:vector@.vector_dims(add_passage.dense), true
        );
    end if;
    if not texts_alone and (held.dim is null or not held.given_vectors) then
        perform pgretrieval.settle(
            held.collection_id, @extschema:vector@.vector_dims(add_passage.vectors[array_lower(add_passage.vectors, 1)]), null, true,
            null, false
        );
    end if;
    unit := array(
        select case when held.unit_vectors then @extschema:vector@.l2_normalize(given.vector) else given.vector end
        from unnest(add_passage.vectors) with ordinality as given (vector, place) order by place
    );
    if not held.unit_vectors and exists (select from unnest(unit) as given, unnest(given::real[]) as number where abs(number) > 65504) then
        raise exception 'passage %: token vectors contain numbers above 65,504, the maximum without unit vectors', quote_literal(add_passage.id)
            using errcode = 'PGR05', hint = 'Scale the vectors down, or create the collection with unit_vectors => true.';
    end if;
    new_bucket := pgretrieval.bucket_of(add_passage.id, held.buckets);
    new_id := nextval(format('pgretrieval.passage_id_%s', held.collection_id)::regclass);
    begin
        insert into pgretrieval.passage (collection_id, bucket, passage_id, key, title, body, metadata, token_count)
        values (held.collection_id, new_bucket, new_id, add_passage.id, add_passage.title, add_passage.body,
                coalesce(add_passage.metadata, '{}'), cardinality(unit));
    exception when unique_violation then
        raise exception 'passage % is in collection % already', quote_literal(add_passage.id), quote_literal(held.name)
            using errcode = 'unique_violation', hint = 'Delete it first, or give this one another id.';
    end;
    if not texts_alone and (held.keep_vectors or held.codebook_id is null) then
        insert into pgretrieval.token_vector (collection_id, bucket, passage_id, encoding, vectors)
        values (held.collection_id, new_bucket, new_id, held.encoding, unit::@extschema:vector@.halfvec[]);
    end if;
    if add_passage.dense is not null then
        insert into pgretrieval.dense_vector (collection_id, bucket, passage_id, encoding, vector)
        values (held.collection_id, new_bucket, new_id, held.dense_encoding, add_passage.dense::@extschema:vector@.halfvec);
    end if;
    if held.codebook_id is not null then
        select encoded.centroid_ids, encoded.residuals into new_centroids, new_residuals
        from pgretrieval.encode_tokens(held.collection_id, held.codebook_id, unit) as encoded;
        if 'maxsim' in (held.scorer, held.rerank) then
            insert into pgretrieval.token_code (collection_id, codebook_id, bucket, passage_id, centroid_ids, residuals, tail)
            select held.collection_id, held.codebook_id, new_bucket, new_id, new_centroids, substr(new_residuals, 1, whole),
                   substr(new_residuals, 1 + whole)
            from (
                select length(new_residuals) - pgretrieval.tail_bytes(length(new_residuals), length(new_centroids))
            ) as cut (whole);
        else
            insert into pgretrieval.token_code (collection_id, codebook_id, bucket, passage_id, centroid_ids, residuals)
            values (held.collection_id, held.codebook_id, new_bucket, new_id, '', '');
        end if;
        if held.scorer = 'maxsim' then
            insert into pgretrieval.posting (collection_id, codebook_id, centroid_id, bucket, segment, passage_ids)
            select held.collection_id, held.codebook_id, pgretrieval.centroid_at(new_centroids, token, length(new_centroids) / cardinality(unit)),
                   new_bucket, new_id, array[new_id]
            from generate_series(0, cardinality(unit) - 1) as token
            group by 3;
        else
            insert into pgretrieval.posting_code (collection_id, codebook_id, centroid_id, bucket, segment, passage_ids, positions, residuals)
            select held.collection_id, held.codebook_id, pgretrieval.centroid_at(new_centroids, token, length(new_centroids) / cardinality(unit)),
                   new_bucket, new_id, array_agg(new_id order by token), array_agg(token order by token),
                   string_agg(substr(new_residuals, 1 + token * width, width), '' order by token)
            from generate_series(0, cardinality(unit) - 1) as token
            cross join (select length(new_residuals) / cardinality(unit)) as packed (width)
            group by 3;
        end if;
        get diagnostics new_rows = row_count;
        insert into pgretrieval.segment (collection_id, codebook_id, segment, passages, tokens, posting_rows)
        values (held.collection_id, held.codebook_id, new_id, 1, cardinality(unit), new_rows);
        perform pgretrieval.index_words(held.collection_id, array[new_id]);
    end if;
end
$function$;
