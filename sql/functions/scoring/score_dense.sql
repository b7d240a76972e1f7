-- The similarity of a query's dense vector to those of some passages; passages without a vector do not come, none do for null.
create or replace function pgretrieval.score_dense(held pgretrieval.collection, passage_ids integer[], query_dense @extschema:vector@.vector)
returns table (passage_id integer, score real)
language plpgsql stable rows 100
set search_path from current
set plan_cache_mode = force_custom_plan
as $function$
#variable_conflict use_column
begin
    if query_dense is null then
        return;
    end if;
    return query execute (
        select format(
            $statement$
            select passage.passage_id, (-(%1$s))::real
            from pgretrieval.passage
            join %2$s as vectors on %3$s and %4$s
            where passage.collection_id = %5$s and passage.passage_id = any($2)
            $statement$,
            distance, source, of_passage, wanted, held.collection_id
        )
        from pgretrieval.dense_source(held)
    ) using query_dense, passage_ids;
exception when data_exception then
    if sqlstate <> '22000' then
        raise;
    end if;
    raise exception '% has vectors of other dimensions than the query''s %', held.dense, @extschema:vector@.vector_dims(query_dense)
        using errcode = 'PGR05', hint = 'Give that column one dimension by its type, or leave dense vectors out of the search.';
end
$function$;
