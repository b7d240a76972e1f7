-- The partition for the proxies of one codebook, unless it is there.
create or replace function pgretrieval.create_proxies(in_codebook integer) returns void
language plpgsql volatile
set search_path from current
as $function$
declare
    partition text := 'proxy_' || in_codebook;
begin
    if to_regclass(format('pgretrieval.%I', partition)) is not null then
        return;
    end if;
    execute format('create table pgretrieval.%I (like pgretrieval.proxy including all)', partition);
    execute format('alter table pgretrieval.%I add constraint one_codebook check (codebook_id = %s)', partition, in_codebook);
    execute format('alter table pgretrieval.proxy attach partition pgretrieval.%I for values in (%s)', partition, in_codebook);
    execute format('alter table pgretrieval.%I drop constraint one_codebook', partition);
end
$function$;
