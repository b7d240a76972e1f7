-- Turns SQL functions that read distributed tables into PL/pgSQL, since Citus plans no parameters of SQL functions, and gives workers
-- those that they call. Runs when the tables are distributed, and after every later migration, which creates them anew.
create or replace function pgretrieval.adapt_functions() returns void
language plpgsql volatile
set search_path from current
as $function$
declare
    of_workers constant text[] := array[
        'bucket_of', 'unspaced_scripts', 'character_pairs', 'text_words', 'word_vector', 'word_weight', 'shared_word'
    ];
    found record;
    read record;
    gathered text;
begin
    for found in
        select pg_proc.oid, proname, split_part(pg_get_functiondef(pg_proc.oid), E'\nBEGIN ATOMIC\n', 1) as head,
               pg_get_function_sqlbody(pg_proc.oid) as body, proretset as many
        from pg_proc join pg_language on pg_language.oid = prolang
        where pronamespace = 'pgretrieval'::regnamespace and lanname = 'sql' and prosqlbody is not null
          and exists (
              select from pg_depend
              where classid = 'pg_proc'::regclass and objid = pg_proc.oid and refclassid = 'pg_class'::regclass
                and refobjid = any(array(select format('pgretrieval.%I', each)::regclass from unnest(pgretrieval.spread_tables()) as each))
          )
    loop
        found.body := regexp_replace(found.body, '^\s*BEGIN ATOMIC\s+(.*);\s*END\s*$', '\1');
        found.body := regexp_replace(found.body, '\s+OFFSET 0', '', 'g');  -- what is fenced off, shards could not join
        -- Workers do not know the type of a row that is a parameter.
        found.body := regexp_replace(found.body, '\((\w+\.)?held\)\.', 'held.', 'g');
        if found.proname like 'check\_%' then
            -- Shards cannot run these: the columns that they read are gathered on the coordinator.
            for read in
                select relname, string_agg(quote_ident(attname), ', ' order by attnum) as columns,
                       string_agg(format('%I %s', attname, format_type(atttypid, atttypmod)), ', ' order by attnum) as typed
                from pg_depend
                join pg_class on pg_class.oid = refobjid
                join pg_attribute on attrelid = refobjid and attnum = refobjsubid
                where classid = 'pg_proc'::regclass and objid = found.oid and refclassid = 'pg_class'::regclass
                  and relnamespace = 'pgretrieval'::regnamespace and relname = any(pgretrieval.spread_tables())
                group by relname
            loop
                gathered := format(
                    'pgretrieval.gathered(format(%L, %s)) AS \1(%s)',
                    format(
                        'select %s from pgretrieval."%s" where %s', read.columns, read.relname,
                        case read.relname
                            when 'proxy' then 'codebook_id = %L'
                            when 'item_embedding' then 'factorization_id = %L'
                            when 'anchor_score' then 'matrix_id = any(array(select score_matrix.matrix_id from pgretrieval.score_matrix '
                                                     'where score_matrix.collection_id = %s))'
                            else 'collection_id = %s'
                        end
                    ),
                    case read.relname when 'proxy' then 'held.codebook_id' when 'item_embedding' then 'held.factorization_id'
                    else 'held.collection_id' end,
                    read.typed
                );
                found.body := regexp_replace(found.body, format('(?<!'')pgretrieval\.%s ([a-z]\w*)', read.relname), gathered, 'g');
                found.body := regexp_replace(found.body, format('(?<!'')pgretrieval\.(%s)(?![\w.(])', read.relname), gathered, 'g');
            end loop;
        end if;
        execute format(
            E'%s\nset search_path from current set plan_cache_mode = force_custom_plan as %L',
            replace(replace(found.head, ' LANGUAGE sql', ' LANGUAGE plpgsql'), ' PARALLEL SAFE', ''),
            format(
                case when found.many then E'\n#variable_conflict use_column\nbegin\n    return query %s;\nend\n'
                else E'\n#variable_conflict use_column\nbegin\n    return (%s);\nend\n' end,
                found.body
            )
        );
    end loop;
    -- Those that statements call with columns of passages, so that workers do.
    for found in
        select pg_proc.oid::regprocedure as called
        from unnest(of_workers) with ordinality as given (name, place)
        join pg_proc on proname = given.name and pronamespace = 'pgretrieval'::regnamespace
        order by place
    loop
        execute format('select pg_catalog.create_distributed_function(%L)', found.called);
    end loop;
end
$function$;
revoke execute on function pgretrieval.adapt_functions() from public;
