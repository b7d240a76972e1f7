-- Those of claimed passages whose tickets are right, and which are there.
create or replace function pgretrieval.proven(in_collection integer, claimed pgretrieval.claims) returns integer[]
language plpgsql stable
set search_path from current
set plan_cache_mode = force_custom_plan
as $function$
declare
    passages integer[];
begin
    -- As a statement of its own text, which is planned for these arrays and as many elements as they have.
    execute format(
        'select array_agg(passage.passage_id)
         from unnest($1, $2) as claim (passage_id, ticket)
         join pgretrieval.passage
             on passage.collection_id = %s and passage.passage_id = claim.passage_id and passage.ticket = claim.ticket',
        in_collection
    ) into passages using claimed.passage_ids, claimed.tickets;
    return passages;
end
$function$;
