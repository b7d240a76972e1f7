-- Removes up to `in_rows` rows that rebuilds have replaced or given up: codes, postings, centroids, proxies and indexes of codebooks
-- that no search uses and no rebuild makes, and vectors of other encodings. Returns false once nothing is left. Searches continue: those
-- that began before the switch still see these rows. Another encoder makes another number of tokens of a text, so the counts are updated
-- first. Plans are fixed, whatever statistics say: passages of a step by their index, and their rows by another.
create or replace function pgretrieval.drop_replaced(in_collection integer, in_rows integer) returns boolean
language plpgsql volatile
set search_path from current
set plan_cache_mode = force_custom_plan
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $function$
declare
    held pgretrieval.collection;
    -- Citus finds no rows by their place, so that a step removes all of a table.
    distributed boolean := pgretrieval.is_distributed();
    unused text := case when distributed then 'delete from pgretrieval.%1$I where encoding <> all($1)' else
        'delete from pgretrieval.%1$I where ctid = any(array(
             select ctid from pgretrieval.%1$I where encoding <> all($1) limit %2$s
         ))' end;
    kept integer[];  -- encodings
    old_codebook integer;
    last_passage integer;
    rebuilt pgretrieval.rebuild;
    id_bytes integer;
    removed bigint;
    waiting boolean;
    part text;
begin
    select * into held from pgretrieval.collection c where c.collection_id = in_collection;
    if not found then
        return false;
    end if;
    select * into rebuilt
    from pgretrieval.rebuild r
    where r.collection_id = in_collection and r.switched and r.encoder is not null;
    select max(counted.passage_id) into last_passage
    from (
        select passage.passage_id
        from pgretrieval.passage
        where passage.collection_id = in_collection and passage.passage_id > rebuilt.recounted
        order by passage.passage_id limit in_rows
    ) as counted;
    if last_passage is not null then
        select c.id_bytes into id_bytes from pgretrieval.codebook c where c.codebook_id = rebuilt.codebook_id;
        -- Where codes are kept by centroid alone, the vectors that they were made of are still there, and tell.
        update pgretrieval.passage
        set token_count = cardinality(token_vector.vectors)
        from pgretrieval.token_vector
        where held.scorer <> 'maxsim'
          and passage.collection_id = in_collection and passage.passage_id > rebuilt.recounted and passage.passage_id <= last_passage
          and token_vector.collection_id = in_collection and token_vector.encoding = rebuilt.encoding
          and token_vector.passage_id = passage.passage_id and token_vector.bucket = passage.bucket
          and passage.token_count <> cardinality(token_vector.vectors);
        update pgretrieval.passage
        set token_count = length(token_code.centroid_ids) / id_bytes
        from pgretrieval.token_code
        where held.scorer = 'maxsim'
          and passage.collection_id = in_collection and passage.passage_id > rebuilt.recounted and passage.passage_id <= last_passage
          and token_code.collection_id = in_collection and token_code.codebook_id = rebuilt.codebook_id
          and token_code.passage_id = passage.passage_id and token_code.bucket = passage.bucket
          and passage.token_count <> length(token_code.centroid_ids) / id_bytes;
        update pgretrieval.rebuild set recounted = last_passage where collection_id = in_collection;
        return true;
    end if;
    -- What is neither used nor made any more stays so, whatever goes on meanwhile.
    select c.codebook_id into old_codebook
    from pgretrieval.codebook c
    where c.collection_id = in_collection
      and not exists (select from pgretrieval.collection used where used.codebook_id = c.codebook_id)
      and not exists (select from pgretrieval.rebuild made where made.codebook_id = c.codebook_id)
    order by c.codebook_id limit 1;
    if old_codebook is not null then
        foreach part in array array['token_code', 'posting'] || case when held.scorer <> 'maxsim' then array['posting_code'] end loop
            execute format(
                case when distributed then 'delete from pgretrieval.%1$I where codebook_id = %2$s' else
                'delete from pgretrieval.%1$I where ctid = any(array(select ctid from pgretrieval.%1$I where codebook_id = %2$s limit %3$s))'
                end,
                part || '_' || in_collection, old_codebook, in_rows
            );
            get diagnostics removed = row_count;
            if removed > 0 then
                return true;
            end if;
        end loop;
        -- Both tables at once: whoever waited for the second with the first would be in the way of searches, and they in its own.
        perform pgretrieval.lock_briefly(
            'dropping codebook ' || old_codebook,
            array(
                select to_regclass(format('pgretrieval.%I', name))
                from unnest(array['centroid_' || in_collection, 'proxy_' || old_codebook]) as name
                where to_regclass(format('pgretrieval.%I', name)) is not null
            ),
            'access exclusive', 0.5
        );
        execute format('drop index if exists pgretrieval.%I', 'centroid_' || in_collection || '_' || old_codebook || '_hnsw');
        perform pgretrieval.empty_partitions('dropping proxies', array['proxy_' || old_codebook], 0.5);
        delete from pgretrieval.centroid where collection_id = in_collection and codebook_id = old_codebook;
        delete from pgretrieval.segment where collection_id = in_collection and codebook_id = old_codebook;
        delete from pgretrieval.codebook where codebook_id = old_codebook;
        return true;
    end if;
    -- All at once where nobody looks at a snapshot from before the switch, which wrote the row of `rebuild`: TRUNCATE is seen by those, too.
    execute format('select exists (select 1 from pgretrieval.token_vector_%s)', in_collection) into waiting;
    if waiting and held.codebook_id is not null and not held.keep_vectors
       and exists (select from pgretrieval.rebuild where collection_id = in_collection and switched)
       and not exists (
           select from pg_stat_activity as other
           join pgretrieval.rebuild on age(other.backend_xmin) >= age(rebuild.xmin)
           where rebuild.collection_id = in_collection and other.datname = current_database() and other.pid <> pg_backend_pid()
       ) then
        begin
            perform pgretrieval.lock_briefly(
                'clearing token vectors', array[format('pgretrieval.%I', 'token_vector_' || in_collection)]::regclass[], 'access exclusive', 0.5
            );
            execute format('truncate pgretrieval.%I', 'token_vector_' || in_collection);
            return true;
        exception when lock_not_available then
            null;
        end;
    end if;
    kept := array(
        select encoding from pgretrieval.collection where collection_id = in_collection and (keep_vectors or codebook_id is null)
        union all
        select encoding from pgretrieval.rebuild where collection_id = in_collection and not switched
    );
    execute format(unused, 'token_vector_' || in_collection, in_rows) using kept;
    get diagnostics removed = row_count;
    if removed > 0 then
        return true;
    end if;
    if to_regclass(format('pgretrieval.dense_vector_%s', in_collection)) is not null then
        kept := array(
            select dense_encoding from pgretrieval.collection where collection_id = in_collection and dense is not null
            union all
            select encoding from pgretrieval.rebuild where collection_id = in_collection and not switched
        );
        execute format(unused, 'dense_vector_' || in_collection, in_rows) using kept;
        get diagnostics removed = row_count;
        if removed > 0 then
            return true;
        end if;
        for part in
            select relname from pg_class
            where relnamespace = 'pgretrieval'::regnamespace and relkind = 'i'
              and relname ~ format('^dense_vector_%s_[0-9]+_hnsw$', in_collection)
              and split_part(relname, '_', 4)::integer <> all(kept)
        loop
            perform pgretrieval.lock_briefly(
                'dropping index ' || part, array[format('pgretrieval.%I', 'dense_vector_' || in_collection)]::regclass[],
                'access exclusive', 0.5
            );
            execute format('drop index pgretrieval.%I', part);
        end loop;
    end if;
    delete from pgretrieval.rebuild where collection_id = in_collection and switched;
    return false;
end
$function$;
