-- The partition for the proxies of one codebook, unless it is there.
create or replace function pgretrieval.create_proxies(in_codebook integer) returns void
language plpgsql volatile
set search_path from current
as $function$
begin
    perform pgretrieval.create_partition('proxy', 'codebook_id', in_codebook);
end
$function$;
