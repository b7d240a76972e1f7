-- How many passages of a collection have words that searches do not find, since their texts have too many; null where there is no search
-- by words. Only texts of more than 200,000 bytes are read for it.
create or replace function pgretrieval.count_cut_words(held pgretrieval.collection) returns bigint
language plpgsql stable
set search_path from current
set plan_cache_mode = force_custom_plan
as $function$
begin
    if held.language is null then
        return null;
    end if;
    return (
        select count(*) from pgretrieval.passage
        where passage.collection_id = held.collection_id
          and coalesce(octet_length(passage.title), 0) + octet_length(passage.body) > 200000
          and (pgretrieval.word_vector(held.language::regconfig, passage.title, passage.body)).cut
    );
end
$function$;
