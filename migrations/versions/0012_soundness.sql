-- Rights, identities and limits that the tables themselves hold.

-- Rows of collections change below before their table does, which deferred checks of them would forbid.
set constraints pgretrieval.collection_codebook_id_fkey, pgretrieval.collection_factorization_id_fkey immediate;

-- Readers lock this table before the others, in whatever order they read these: once it is locked alone, none waits crosswise.
lock table pgretrieval.collection in access exclusive mode;

-- Functions look for text search configurations in pg_catalog alone; one of pgvector's schema, which was on their path, gets its schema.
update pgretrieval.collection
set language = format('%I.%I', nspname, cfgname)
from pg_catalog.pg_extension
join pg_catalog.pg_namespace on pg_namespace.oid = extnamespace
join pg_catalog.pg_ts_config on cfgnamespace = extnamespace
where extname = 'vector' and language = quote_ident(cfgname) and not exists (
    select from pg_catalog.pg_ts_config as own where own.cfgname = pg_ts_config.cfgname and own.cfgnamespace = 'pg_catalog'::regnamespace
);

-- Each query token looks up as many centroids as it needs, so this has other arguments.
drop function if exists pgretrieval.score_tokens(
    pgretrieval.collection, @extschema:vector@.vector[], integer, integer, text, jsonpath, text[]
);

-- What clients keep in memory is known by something that cannot come twice: numbers are given out anew after a restore. In steps that
-- rewrite no table: to a search whose snapshot is older a table that was rewritten is empty.
alter table pgretrieval.collection add column identity uuid;
alter table pgretrieval.codebook add column identity uuid;
alter table pgretrieval.factorization add column identity uuid;
update pgretrieval.collection set identity = pg_catalog.gen_random_uuid();
update pgretrieval.codebook set identity = pg_catalog.gen_random_uuid();
update pgretrieval.factorization set identity = pg_catalog.gen_random_uuid();
alter table pgretrieval.collection alter column identity set default pg_catalog.gen_random_uuid(), alter column identity set not null;
alter table pgretrieval.codebook alter column identity set default pg_catalog.gen_random_uuid(), alter column identity set not null;
alter table pgretrieval.factorization alter column identity set default pg_catalog.gen_random_uuid(), alter column identity set not null;

-- Row-level security reaches what belongs to passages (docs/row-level-security.md).
--
-- A ticket shows that whoever has it may see the passage: functions that read tables which all tenants share answer only for passages
-- whose tickets the caller gives. (Not in one statement: a default that differs from row to row rewrites the table, which then looks empty
-- to whoever has an older snapshot.)
alter table pgretrieval.passage add column ticket uuid;
alter table pgretrieval.passage alter column ticket set default gen_random_uuid();
update pgretrieval.passage set ticket = gen_random_uuid();
alter table pgretrieval.passage alter column ticket set not null;
comment on column pgretrieval.passage.ticket is
    'Shows that whoever knows it may see the passage; functions that read tables which all tenants share ask for it.';
create type pgretrieval.claims as (passage_ids integer[], tickets uuid[]);
comment on type pgretrieval.claims is 'Passages of one collection that the caller may see, with their tickets.';

do $policies$
declare
    everything constant text := '(select not pg_catalog.row_security_active(''pgretrieval.passage''::regclass))';
    every_collection constant text := '(select not pg_catalog.row_security_active(''pgretrieval.collection''::regclass))';
    found record;
begin
    -- Rows of a passage are seen and written by whoever sees the passage.
    for found in
        select * from (values
            ('token_vector', 'passage.collection_id = token_vector.collection_id', 'passage_id'),
            ('token_code', 'passage.collection_id = token_code.collection_id', 'passage_id'),
            ('dense_vector', 'passage.collection_id = dense_vector.collection_id', 'passage_id'),
            ('proxy', 'passage.collection_id = (select codebook.collection_id from pgretrieval.codebook
                                                where codebook.codebook_id = proxy.codebook_id)', 'passage_id'),
            ('anchor_score', 'passage.collection_id = (select score_matrix.collection_id from pgretrieval.score_matrix
                                                       where score_matrix.matrix_id = anchor_score.matrix_id)', 'passage_id'),
            ('item_embedding', 'passage.collection_id = (select factorization.collection_id from pgretrieval.factorization
                                                         where factorization.factorization_id = item_embedding.factorization_id)',
             'passage_id')
        ) as own (relation, in_collection, passage)
    loop
        execute format('alter table pgretrieval.%I enable row level security', found.relation);
        execute format(
            'create policy own on pgretrieval.%1$I using (
                 %2$s or exists (
                     select from pgretrieval.passage
                     where %3$s and passage.bucket = %1$I.bucket and passage.passage_id = %1$I.%4$I
                 )
             )',
            found.relation, everything, found.in_collection, found.passage
        );
    end loop;

    -- Rows that list passages of all tenants are seen by those who see all; who writes one sees every passage that it lists.
    for found in
        select * from (values
            ('posting', 'unnest(posting.passage_ids)'),
            ('posting_code', 'unnest(posting_code.passage_ids)'),
            ('word_posting', 'unnest(word_posting.passage_ids)'),
            ('segment', 'unnest(array[segment.segment])')
        ) as shared (relation, listed)
    loop
        execute format('alter table pgretrieval.%I enable row level security', found.relation);
        execute format('create policy everything on pgretrieval.%I for select using (%s)', found.relation, everything);
        execute format(
            'create policy own on pgretrieval.%1$I for insert with check (
                 %2$s or not exists (
                     select from %3$s as listed (passage_id)
                     where not exists (
                         select from pgretrieval.passage
                         where passage.collection_id = %1$I.collection_id and passage.passage_id = listed.passage_id
                     )
                 )
             )',
            found.relation, everything, found.listed
        );
    end loop;

    -- What tells of texts or changes of all tenants.
    for found in
        select unnest(array['removed_passage', 'compaction', 'rebuild', 'anchor_query', 'queue', 'source_passage']) as relation
    loop
        execute format('alter table pgretrieval.%I enable row level security', found.relation);
        execute format('create policy everything on pgretrieval.%I using (%s)', found.relation, everything);
    end loop;

    -- Numbers over all passages, as of a build: seen by whoever sees the collection.
    for found in
        select * from (values
            ('codebook', 'collection.collection_id = codebook.collection_id'),
            ('centroid', 'collection.collection_id = centroid.collection_id'),
            ('score_matrix', 'collection.collection_id = score_matrix.collection_id'),
            ('factorization', 'collection.collection_id = factorization.collection_id'),
            ('attachment', 'collection.collection_id = attachment.collection_id'),
            ('proxy_model', 'collection.collection_id = (select codebook.collection_id from pgretrieval.codebook
                                                         where codebook.codebook_id = proxy_model.codebook_id)'),
            ('anchor_item', 'collection.collection_id = (select factorization.collection_id from pgretrieval.factorization
                                                         where factorization.factorization_id = anchor_item.factorization_id)')
        ) as of_collection (relation, matching)
    loop
        execute format('alter table pgretrieval.%I enable row level security', found.relation);
        execute format(
            'create policy known on pgretrieval.%I using (%s or exists (select from pgretrieval.collection where %s))',
            found.relation, every_collection, found.matching
        );
    end loop;
end
$policies$;

-- Nobody but the owner has rights on partitions; what belongs to passages goes by functions.
do $rights$
declare
    found record;
begin
    for found in
        select distinct relation.oid::regclass as relation, case when acl.grantee = 0 then 'public' else quote_ident(rolname) end as grantee,
               relation.relispartition
        from pg_catalog.pg_class as relation
        cross join lateral pg_catalog.aclexplode(relation.relacl) as acl
        left join pg_catalog.pg_roles on pg_roles.oid = acl.grantee
        where relation.relnamespace = 'pgretrieval'::regnamespace and acl.grantee <> relation.relowner
          and (relation.relispartition
               or relation.relname in ('token_vector', 'token_code', 'posting', 'posting_code', 'word_posting', 'dense_vector', 'segment',
                                       'proxy', 'anchor_score', 'item_embedding', 'removed_passage', 'compaction'))
    loop
        execute format(
            'revoke %s on %s from %s',
            case when found.relispartition then 'all'
                 when found.relation in ('pgretrieval.removed_passage'::regclass, 'pgretrieval.compaction'::regclass)
                     then 'insert, update, delete, truncate'
                 else 'update, delete, truncate' end,
            found.relation, found.grantee
        );
    end loop;
    -- What an add settles of a collection is written by a function; the right to lock the row stays.
    for found in
        select distinct attname, case when acl.grantee = 0 then 'public' else quote_ident(rolname) end as grantee
        from pg_catalog.pg_attribute
        cross join lateral pg_catalog.aclexplode(attacl) as acl
        left join pg_catalog.pg_roles on pg_roles.oid = acl.grantee
        where attrelid = 'pgretrieval.collection'::regclass and acl.privilege_type = 'UPDATE'
    loop
        execute format('revoke update (%I) on pgretrieval.collection from %s', found.attname, found.grantee);
        execute format('grant update (created_at) on pgretrieval.collection to %s', found.grantee);
    end loop;
end
$rights$;

-- The Python client reads these. What it could not is made readable, so that the upgrade leaves nothing that breaks a later change.
update pgretrieval.collection set name = 'collection ' || collection_id where name !~ '\S';
update pgretrieval.collection set encoder = null where jsonb_typeof(encoder) <> 'object';
update pgretrieval.collection set title_weight = 1 where not title_weight between 0 and 1000000;
update pgretrieval.passage set metadata = jsonb_build_object('value', metadata) where jsonb_typeof(metadata) <> 'object';
alter table pgretrieval.collection
    add constraint collection_name_not_blank check (name ~ '\S'),
    add constraint collection_encoder_object check (jsonb_typeof(encoder) = 'object'),
    add constraint collection_title_weight_finite check (title_weight between 0 and 1000000);
alter table pgretrieval.passage add constraint passage_metadata_object check (jsonb_typeof(metadata) = 'object') not valid;

-- What is left to drop of what was dropped, so that nobody waits for it.
create table pgretrieval.leftover (
    name text primary key
);
comment on table pgretrieval.leftover is
    'Empty partitions of dropped collections, replaced codebooks and factorisations, which pgretrieval.drop_leftover() drops.';

-- Locks of collections, as tables that hold nothing: who may change a collection shares its partition of change_lock by deleting nothing
-- from it, and the switch of a build has that alone. Rights decide who can take them, which advisory locks do not ask for.
create table pgretrieval.change_lock (collection_id integer not null) partition by list (collection_id);
comment on table pgretrieval.change_lock is 'Always empty. Its partitions are locked by those who change a collection, and by the switch of a build.';
create table pgretrieval.build_lock (collection_id integer not null) partition by list (collection_id);
comment on table pgretrieval.build_lock is 'Always empty. Builds of one collection exclude each other by a lock of its partition.';
create table pgretrieval.factorization_lock (collection_id integer not null) partition by list (collection_id);
comment on table pgretrieval.factorization_lock is 'Always empty. Factorisations of one collection exclude each other by a lock of its partition.';
create table pgretrieval.following_lock (collection_id integer not null) partition by list (collection_id);
comment on table pgretrieval.following_lock is 'Always empty. Workers share the lock of a collection''s partition, and attaching and detaching have it alone.';

do $locks$
declare
    held integer;
begin
    for held in select collection_id from pgretrieval.collection loop
        execute format('create table pgretrieval.change_lock_%1$s partition of pgretrieval.change_lock for values in (%1$s)', held);
        execute format('create table pgretrieval.build_lock_%1$s partition of pgretrieval.build_lock for values in (%1$s)', held);
        execute format('create table pgretrieval.following_lock_%1$s partition of pgretrieval.following_lock for values in (%1$s)', held);
    end loop;
end
$locks$;

-- What it returns is other.
drop function if exists pgretrieval.source_of(pgretrieval.attachment);

-- Keys may be longer than an entry of an index: the index holds a hash of them.
drop index pgretrieval.queue_key;
create index queue_key on pgretrieval.queue (collection_id, hashtext(key));

-- Workers lock nothing while they encode: until then others leave the key to the worker that has claimed it.
alter table pgretrieval.queue add column claimed_until timestamptz not null default '-infinity';
drop function if exists pgretrieval.claim_keys(integer, integer);

-- Keys and metadata have one text form now, whatever the settings of sessions are. Collections whose columns may have had another are
-- looked at as a whole; keys in an old form would lead to no row.
with renewed as (
    select attachment.collection_id
    from pgretrieval.attachment
    where attachment.query is not null or exists (
        select from pg_catalog.pg_attribute
        where attrelid = attachment.source and attname = any(key_column || text_columns || metadata_columns)
          and atttypid <> all(array[
              'smallint'::regtype, 'integer', 'bigint', 'text', 'varchar', 'bpchar', 'name', 'boolean', 'uuid', 'numeric', 'json', 'jsonb'
          ])
    )
),
replaced as (
    delete from pgretrieval.queue using renewed
    where queue.collection_id = renewed.collection_id and queue.key is not null and queue.parked_at is null
)
insert into pgretrieval.queue (collection_id) select collection_id from renewed;

set constraints pgretrieval.collection_codebook_id_fkey, pgretrieval.collection_factorization_id_fkey deferred;
