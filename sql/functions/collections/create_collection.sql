-- Creates a collection and its partitions. Searches in other collections are not blocked.
create or replace function pgretrieval.create_collection(
    name text,
    dim integer default null,
    encoder jsonb default null,
    bits integer default 4,
    levels text default 'lloyd-max',
    generator text default 'auto',
    keep_vectors boolean default false,
    language text default 'english',
    title_weight double precision default 1,
    dense text default 'auto',
    dense_key text default null,
    vectors_per_passage integer default null,
    scorer text default 'maxsim',
    rerank text default null,
    unit_vectors boolean default true,
    candidates text default null,
    preset jsonb default null,
    buckets integer default null
) returns integer
language plpgsql volatile
set search_path from current
as $function$
declare
    new_id integer;
    parents text[];
    parent text;
    configuration regconfig;
begin
    if coalesce(create_collection.name, '') !~ '\S' or length(create_collection.name) > 500 then
        raise exception 'a collection cannot be called %', coalesce(quote_literal(left(create_collection.name, 60)), 'null')
            using errcode = 'PGR05', hint = 'Give a text of 1 to 500 characters that is not blank.';
    end if;
    if create_collection.dim not between 48 and 1024 then
        raise exception 'dim is %', create_collection.dim using errcode = 'PGR05', hint = 'Collections take 48 to 1,024.';
    end if;
    if create_collection.bits is null or create_collection.bits not in (1, 2, 4) then
        raise exception 'bits is %', coalesce(create_collection.bits::text, 'null') using errcode = 'PGR05', hint = 'The residual codec supports 1, 2 and 4.';
    end if;
    if create_collection.levels is null or create_collection.levels not in ('lloyd-max', 'quantile') then
        raise exception 'levels is %', coalesce(quote_literal(create_collection.levels), 'null')
            using errcode = 'PGR05', hint = 'Choose lloyd-max or quantile.';
    end if;
    if create_collection.candidates is not null then
        raise exception 'candidates is %', quote_literal(left(create_collection.candidates, 60))
            using errcode = 'PGR05', hint = format('Use generator instead: generator => %L.', left(create_collection.candidates, 60));
    end if;
    if create_collection.generator is null or create_collection.generator not in ('auto', 'proxy', 'postings') then
        raise exception 'generator is %', coalesce(quote_literal(create_collection.generator), 'null')
            using errcode = 'PGR05', hint = 'Choose auto, proxy or postings.';
    end if;
    if create_collection.keep_vectors is null then
        raise exception 'keep_vectors is null' using errcode = 'PGR05', hint = 'Give true or false.';
    end if;
    if create_collection.title_weight is null or not create_collection.title_weight between 0 and 1000000 then
        raise exception 'title_weight is %', coalesce(create_collection.title_weight::text, 'null')
            using errcode = 'PGR05', hint = 'Give a finite number from 0 to 1,000,000.';
    end if;
    -- What the Python client can read: an object of texts with one of the kinds.
    if jsonb_typeof(create_collection.encoder) <> 'object'
       or jsonb_path_exists(create_collection.encoder, '$.* ? (@.type() != "string")')
       or coalesce(create_collection.encoder ->> 'kind', '') not in ('minilm', 'multilingual', 'model', 'object', 'none')
          and create_collection.encoder is not null
       or create_collection.encoder ->> 'kind' = 'model' and coalesce(create_collection.encoder ->> 'name', '') !~ '\S' then
        raise exception 'encoder is %', left(create_collection.encoder::text, 200) using errcode = 'PGR05',
            hint = 'Give an object of texts with kind minilm, multilingual, model (and a name), object or none; or null.';
    end if;
    if create_collection.vectors_per_passage < 1 then
        raise exception 'vectors_per_passage is %', create_collection.vectors_per_passage using errcode = 'PGR05',
            hint = 'Give a whole number of at least 1, or null if passages differ.';
    end if;
    if create_collection.buckets not between 1 and 1024 then
        raise exception 'buckets is %', create_collection.buckets using errcode = 'PGR05',
            hint = 'Give a whole number from 1 to 1,024, or null for the default: 64 on a distributed schema, else 1.';
    end if;
    begin
        select oid into configuration from pg_ts_config where oid = create_collection.language::regconfig;
    exception when undefined_object or invalid_name or invalid_schema_name or syntax_error then
        configuration := null;
    end;
    if create_collection.language is not null and configuration is null then
        raise exception 'language is %', quote_literal(left(create_collection.language, 60)) using errcode = 'PGR05',
            hint = 'Give a text search configuration of the server, such as english or simple, or null.';
    end if;
    if scorer is null or scorer not in ('maxsim', 'xtr', 'colxtr') then
        raise exception 'scorer is %', coalesce(quote_literal(scorer), 'null')
            using errcode = 'PGR05', hint = 'Choose maxsim, xtr or colxtr.';
    end if;
    if rerank <> 'maxsim' then
        raise exception 'rerank is %', quote_literal(rerank) using errcode = 'PGR05', hint = 'Give maxsim, or leave it out.';
    end if;
    if rerank is not null and scorer = 'maxsim' then
        raise exception 'rerank is maxsim, which scorer maxsim includes'
            using errcode = 'PGR05', hint = 'Leave rerank out, or give scorer xtr or colxtr.';
    end if;
    if unit_vectors is null then
        raise exception 'unit_vectors is null' using errcode = 'PGR05', hint = 'Give true or false.';
    end if;
    if generator = 'proxy' and scorer <> 'maxsim' then
        raise exception 'generator is proxy, but scorer % retrieves tokens', scorer
            using errcode = 'PGR05', hint = 'Leave generator out.';
    end if;
    -- Its name, and rows of texts and numbers: options of searches with the limits of a row.
    if jsonb_typeof(preset) <> 'null' and (
        jsonb_typeof(preset -> 'name') is distinct from 'string' or jsonb_typeof(preset -> 'search') is distinct from 'array'
        or jsonb_path_exists(preset, 'strict $.search[*] ? (@.type() != "object")')
        or jsonb_path_exists(preset, 'strict $.search[*].* ? (@.type() != "string" && @.type() != "number")')
    ) then
        raise exception 'preset is %', left(preset::text, 200) using errcode = 'PGR05',
            hint = 'Give an object with a name and search, a list of objects of texts and numbers; or null.';
    end if;
    insert into pgretrieval.collection (name, dim, encoder, bits, levels, generator, keep_vectors, language,
                                        title_weight, dense, dense_key, vectors_per_passage, scorer, rerank, unit_vectors, preset, buckets)
    values (create_collection.name, create_collection.dim, create_collection.encoder, create_collection.bits,
            create_collection.levels, create_collection.generator, create_collection.keep_vectors,
            configuration::text, create_collection.title_weight, create_collection.dense,
            pgretrieval.dense_key(create_collection.dense, create_collection.dense_key), create_collection.vectors_per_passage,
            create_collection.scorer, create_collection.rerank, create_collection.unit_vectors,
            nullif(create_collection.preset, 'null'), coalesce(create_collection.buckets, case when pgretrieval.is_distributed() then 64 else 1 end))
    returning collection_id into new_id;

    parents := array['change_lock', 'build_lock', 'following_lock', 'centroid', 'passage', 'token_vector', 'token_code', 'posting',
                     'word_posting']
               || case when create_collection.dense in ('kept', 'auto') then array['dense_vector'] end
               || case when create_collection.scorer <> 'maxsim' then array['posting_code'] end;  -- tokens by centroid give the scores
    perform pgretrieval.lock_briefly(
        format('creating collection %L', create_collection.name),
        array(select format('pgretrieval.%I', each)::regclass from unnest(parents) as each),
        'share update exclusive'
    );
    foreach parent in array parents loop
        perform pgretrieval.create_partition(parent, 'collection_id', new_id);
    end loop;
    perform pgretrieval.inline_codes(new_id, create_collection.vectors_per_passage);
    -- Dropped with the collection. Citus lets no distributed table own a sequence.
    execute format('create sequence pgretrieval.%I as integer owned by pgretrieval.%I.collection_id',
                   'passage_id_' || new_id, 'change_lock_' || new_id);
    return new_id;
end
$function$;
