-- Drops the proxies of one codebook, where there are some; gives up after half a second where a search is in the way.
create or replace function pgretrieval.drop_proxies(in_codebook integer) returns void
language plpgsql volatile
set search_path from current
as $function$
begin
    perform pgretrieval.empty_partitions('dropping proxies', array['proxy_' || in_codebook], 0.5);
end
$function$;
