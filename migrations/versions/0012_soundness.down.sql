-- What 0012_soundness.sql made, taken back.

drop function if exists pgretrieval.score_tokens(
    pgretrieval.collection, @extschema:vector@.vector[], integer[], integer, text, jsonpath, text[]
);
drop function if exists pgretrieval.probes_for(pgretrieval.collection, @extschema:vector@.vector[], bigint);

lock table pgretrieval.collection in access exclusive mode;

-- Rights that were taken away are given again by the privileges.sql of the package that the database goes back to.
do $policies$
declare
    found record;
begin
    for found in
        select polname, polrelid::regclass as relation from pg_catalog.pg_policy
        join pg_catalog.pg_class on pg_class.oid = polrelid
        where relnamespace = 'pgretrieval'::regnamespace and polname in ('own', 'everything', 'known')
          and polrelid not in ('pgretrieval.passage'::regclass, 'pgretrieval.collection'::regclass)
    loop
        execute format('drop policy %I on %s', found.polname, found.relation);
        execute format('alter table %s disable row level security', found.relation);
    end loop;
end
$policies$;
drop type pgretrieval.claims cascade;
alter table pgretrieval.passage drop column ticket cascade;

alter table pgretrieval.factorization drop column identity;
alter table pgretrieval.codebook drop column identity;
alter table pgretrieval.collection drop column identity;

alter table pgretrieval.passage drop constraint passage_metadata_object;
alter table pgretrieval.collection
    drop constraint collection_name_not_blank, drop constraint collection_encoder_object, drop constraint collection_title_weight_finite;
drop function if exists pgretrieval.check_filter(jsonpath);
drop function if exists pgretrieval.is_predicate(jsonpath);
drop function if exists pgretrieval.is_encoder(jsonb);
drop function if exists pgretrieval.is_metadata(jsonb);

drop function if exists pgretrieval.claim_keys(integer, integer);
drop function if exists pgretrieval.held_by_others(integer);
drop function if exists pgretrieval.join_workers(integer);

do $leftover$
declare
    partition text;
begin
    for partition in select name from pgretrieval.leftover loop
        execute format('drop table if exists pgretrieval.%I', partition);
    end loop;
end
$leftover$;
drop table pgretrieval.leftover;
drop table pgretrieval.change_lock, pgretrieval.build_lock, pgretrieval.factorization_lock, pgretrieval.following_lock;

-- Entries whose keys are too long for the index stand for every key.
drop index pgretrieval.queue_key;
alter table pgretrieval.queue drop column claimed_until;
drop function if exists pgretrieval.claim_keys(integer, integer, double precision);
drop function if exists pgretrieval.lock_keys(integer, text[]);
alter table pgretrieval.queue alter column key type text using case when octet_length(key) <= 2000 then key end;
create index queue_key on pgretrieval.queue (collection_id, key);
drop function if exists pgretrieval.source_of(pgretrieval.attachment) cascade;
drop function if exists pgretrieval.is_plain(oid);
drop function if exists pgretrieval.check_policies(regclass);
drop function if exists pgretrieval.as_vector(text), pgretrieval.as_vectors(text);
