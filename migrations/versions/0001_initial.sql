-- Collections, their codebooks, passages, codes and postings.
--
-- Parents are LIST-partitioned by collection_id; pgretrieval.create_collection makes one partition of each for a collection.
-- `bucket` spreads a collection over the nodes of a distributed Postgres; on one server it is 0.

create table pgretrieval.collection (
    collection_id integer generated always as identity primary key,
    name text not null unique check (length(name) between 1 and 500),
    encoder jsonb,
    dim integer check (dim between 48 and 1024),
    bits smallint not null check (bits in (1, 2, 4)),
    levels text not null check (levels in ('lloyd-max', 'quantile')),
    codebook_id integer,
    given_vectors boolean not null default false,
    created_at timestamptz not null default now()
);
comment on table pgretrieval.collection is
    'One named set of passages; codebook_id is the active codebook, null before the first build. given_vectors tells that some came with token vectors of the caller''s, which encoding the text again would not give.';

create table pgretrieval.codebook (
    codebook_id integer generated always as identity primary key,
    collection_id integer not null references pgretrieval.collection on delete cascade,
    dim integer not null,
    bits smallint not null,
    cutoffs real[] not null,
    weights real[] not null,
    centroid_count integer not null,
    passages bigint not null,
    tokens bigint not null,
    created_at timestamptz not null default now()
);
comment on table pgretrieval.codebook is 'One trained version of centroids and codec; never changed once written. passages and tokens are what it was trained for.';

alter table pgretrieval.collection
    add foreign key (codebook_id) references pgretrieval.codebook (codebook_id) deferrable initially deferred;
create index codebook_collection on pgretrieval.codebook (collection_id);

create table pgretrieval.centroid (
    collection_id integer not null,
    codebook_id integer not null,
    centroid_id integer not null,
    vector halfvec not null,
    primary key (collection_id, codebook_id, centroid_id)
) partition by list (collection_id);
comment on table pgretrieval.centroid is 'One k-means centre, unit length, half precision.';

create table pgretrieval.passage (
    collection_id integer not null,
    bucket smallint not null default 0,
    passage_id integer not null,
    key text not null,
    title text,
    body text not null,
    metadata jsonb not null default '{}',
    token_count integer not null check (token_count > 0),
    primary key (collection_id, passage_id, bucket),
    unique (collection_id, key, bucket)
) partition by list (collection_id);
comment on table pgretrieval.passage is 'One retrievable text; key is the caller''s id.';

create table pgretrieval.token_vector (
    collection_id integer not null,
    bucket smallint not null default 0,
    passage_id integer not null,
    vectors halfvec[] not null,
    primary key (collection_id, passage_id, bucket)
) partition by list (collection_id);
alter table pgretrieval.token_vector alter column vectors set storage external;
comment on table pgretrieval.token_vector is 'Half-precision token vectors of passages that are not coded yet.';

create table pgretrieval.token_code (
    collection_id integer not null,
    codebook_id integer not null,
    bucket smallint not null default 0,
    passage_id integer not null,
    centroid_ids bytea not null,
    residuals bytea not null,
    primary key (collection_id, codebook_id, passage_id, bucket)
) partition by list (collection_id);
alter table pgretrieval.token_code alter column centroid_ids set storage external;
alter table pgretrieval.token_code alter column residuals set storage external;
comment on table pgretrieval.token_code is
    'All codes of a passage: one little-endian int4 centroid id per token, and the packed residual bits (docs/decisions.md has the bit order).';

create table pgretrieval.posting (
    collection_id integer not null,
    codebook_id integer not null,
    centroid_id integer not null,
    bucket smallint not null default 0,
    segment integer not null,
    passage_ids integer[] not null,
    primary key (collection_id, codebook_id, centroid_id, bucket, segment)
) partition by list (collection_id);
alter table pgretrieval.posting alter column passage_ids set storage external;
comment on table pgretrieval.posting is
    'The passages that hold a token of a centroid. Each add writes a segment of its own, numbered by its first passage id; a build writes segment 0.';
