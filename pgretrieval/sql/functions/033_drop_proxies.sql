-- Drops the partition with the proxies of one codebook, where there is one.
create or replace function pgretrieval.drop_proxies(in_codebook integer) returns void
language plpgsql volatile
set search_path from current
as $function$
begin
    execute format('drop table if exists pgretrieval.%I', 'proxy_' || in_codebook);
end
$function$;
