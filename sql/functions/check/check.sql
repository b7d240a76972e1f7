-- Returns the violations in a collection, at most 20 of each rule, each with the rule's total. `part` is one of check_parts(); null
-- checks all. It reads one snapshot, changes nothing and locks nothing.
create or replace function pgretrieval.check(collection text, part text default null)
returns table (rule text, id text, detail text, total bigint)
language plpgsql stable rows 20
set search_path from current
set plan_cache_mode = force_custom_plan
set enable_nestloop = off
as $function$
declare
    held pgretrieval.collection := pgretrieval.known_collection("check".collection);
    wanted text;
begin
    if row_security_active('pgretrieval.passage') then
        raise exception 'row-level security hides passages of collection % from role %', quote_literal(held.name), current_user
            using errcode = 'insufficient_privilege', hint = 'Check as the owner of the tables, or as a role with BYPASSRLS.';
    end if;
    if part is not null and part <> all (pgretrieval.check_parts()) then
        raise exception 'part is %', quote_literal(part)
            using errcode = 'PGR05', hint = format('Give one of %s.', array_to_string(pgretrieval.check_parts(), ', '));
    end if;
    foreach wanted in array case when part is null then pgretrieval.check_parts() else array[part] end loop
        return query execute format(
            $statement$
            select found.rule, found.id, found.detail, found.total
            from (
                select broken.*, count(*) over (partition by broken.rule) as total,
                       row_number() over (partition by broken.rule order by broken.id, broken.detail) as place
                from pgretrieval.%I($1) as broken
            ) as found
            where found.place <= 20
            order by found.rule, found.place
            $statement$,
            'check_' || wanted
        ) using held;
    end loop;
end
$function$;
