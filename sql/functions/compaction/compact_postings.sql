-- Merges the segments marked as compacting into segment 0, and drops the entries of removed passages, in one table of postings, for the
-- next `most` centroids or words after `after`. Returns the last of them, null if no word is left.
--
-- The plan is fixed, whatever statistics say: postings by their index, and removed passages as an array, which is hashed.
create or replace function pgretrieval.compact_postings(
    in_collection integer, in_codebook integer, relation text, after text, most integer
) returns text
language plpgsql volatile
set search_path from current
set plan_cache_mode = force_custom_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashagg = off
set enable_sort = off
as $function$
#variable_conflict use_column
declare
    of_words constant boolean := relation = 'word_posting';
    key constant text := case when of_words then 'word' else 'centroid_id' end;
    keys constant text := case when of_words then 'collection_id, word' else 'collection_id, codebook_id, centroid_id' end;
    -- Each entry beside its passage: the columns that hold them, the entry's names, their order, and how they are put together again.
    columns text;
    names text;
    places text;
    merged text;
    merging integer[] := array(
        select segment from pgretrieval.segment
        where segment.collection_id = in_collection and segment.codebook_id = in_codebook and compacting
    ) || 0;
    removed integer[] := array(
        select passage_id from pgretrieval.removed_passage where removed_passage.collection_id = in_collection and compacting
    );
    until text;
    chosen text;  -- the rows to merge, $1 the segments and $2 the removed passages
    read text;
    made text;
    written text;
begin
    if of_words then
        select max(listed.word) into until
        from (
            select distinct word_posting.word from pgretrieval.word_posting
            where word_posting.collection_id = in_collection and word_posting.word > coalesce(compact_postings.after, '')
            order by word_posting.word limit most
        ) as listed;
        if until is null then
            return null;
        end if;
    else
        until := after::integer + most;
    end if;
    case relation
        when 'posting' then
            columns := 'passage_ids';
            names := 'passage_id, place';
            places := 'entry.passage_id';
            merged := '';
        when 'word_posting' then
            columns := 'passage_ids, weights, words';
            names := 'passage_id, weight, listed, place';
            places := 'entry.listed, entry.passage_id';
            merged := format(
                ', array_agg(entry.weight order by %1$s), case when count(entry.listed) > 0 then array_agg(entry.listed order by %1$s) end',
                places
            );
        when 'posting_code' then
            columns := 'passage_ids, positions';
            names := 'passage_id, position, place';
            places := 'entry.passage_id, entry.position';
            merged := (
                select format(
                    ', array_agg(entry.position order by %1$s),'
                    ' string_agg(substr(gone.residuals, 1 + %2$s * (entry.place::integer - 1), %2$s), '''' order by %1$s)',
                    places, (codebook.dim * codebook.bits + 7) / 8
                )
                from pgretrieval.codebook where codebook.codebook_id = in_codebook
            );
    end case;
    chosen := format(
        $chosen$
        pgretrieval.%1$I as posting
        where posting.collection_id = %2$s %3$s and posting.segment = any($1) and posting.%4$I = any(array(
            select distinct changed.%4$I
            from pgretrieval.%1$I as changed
            where changed.collection_id = %2$s %5$s and changed.%4$I > %6$L and changed.%4$I <= %7$L and changed.segment = any($1)
              and (changed.segment > 0
                   or exists (select from unnest(changed.passage_ids) as entry (passage_id) where entry.passage_id = any($2)))
        ))
        $chosen$,
        relation, in_collection,
        case when not of_words then format('and posting.codebook_id = %s', in_codebook) end, key,
        case when not of_words then format('and changed.codebook_id = %s', in_codebook) end,
        coalesce(after, ''), until
    );
    read := format(
        '%s, posting.bucket, %s', keys,
        columns || case relation when 'posting_code' then ', substr(posting.residuals, 1) as residuals' else '' end
    );
    written := columns || case relation when 'posting_code' then ', residuals' else '' end;
    made := format(
        $made$
        select %1$s, gone.bucket, 0, array_agg(entry.passage_id order by %2$s) %3$s
        from gone
        cross join lateral rows from (unnest(%4$s)) with ordinality as entry (%5$s)
        where entry.passage_id <> all($2)
        group by %1$s, gone.bucket
        $made$,
        keys, places, merged, columns, names
    );
    if pgretrieval.is_distributed() then  -- Citus accepts no DELETE within another statement
        execute format('create temporary table pgretrieval_merged (like pgretrieval.%I) on commit drop', relation);
        execute format(
            'insert into pg_temp.pgretrieval_merged (%s, bucket, segment, %s) with gone as (select %s from %s) %s',
            keys, written, read, chosen, made
        ) using merging, removed;
        execute format('delete from %s', chosen) using merging, removed;
        execute format(
            'insert into pgretrieval.%I (%s, bucket, segment, %s) select %2$s, bucket, segment, %3$s from pg_temp.pgretrieval_merged',
            relation, keys, written
        );
        drop table pg_temp.pgretrieval_merged;
    else
        execute format(
            'with gone as (delete from %s returning %s) insert into pgretrieval.%I (%s, bucket, segment, %s) %s',
            chosen, read, relation, keys, written, made
        ) using merging, removed;
    end if;
    return until;
end
$function$;
revoke execute on function pgretrieval.compact_postings(integer, integer, text, text, integer) from public;
