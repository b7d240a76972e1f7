-- Learned proxies. `proxy` is LIST-partitioned by codebook_id: those of a new codebook are written beside those that searches use,
-- with a vector index of their own, and a codebook that goes takes its partition with it.

drop function if exists pgretrieval.create_collection(text, integer, jsonb, integer, text);

alter table pgretrieval.collection
    add column candidates text not null default 'auto' check (candidates in ('auto', 'proxy', 'postings'));
comment on column pgretrieval.collection.candidates is
    'What generates candidates: proxy, postings, or auto, which leaves the choice to the client.';

create table pgretrieval.proxy_model (
    codebook_id integer primary key references pgretrieval.codebook on delete cascade,
    threshold real not null,
    directions bytea not null,
    projection bytea not null,
    anchors bytea not null,
    baseline bytea not null
);
alter table pgretrieval.proxy_model alter column directions set storage external;
alter table pgretrieval.proxy_model alter column projection set storage external;
alter table pgretrieval.proxy_model alter column anchors set storage external;
alter table pgretrieval.proxy_model alter column baseline set storage external;
comment on table pgretrieval.proxy_model is
    'What turns token vectors into proxies, one row per codebook: directions and anchors are rows of little-endian half-precision numbers of the collection''s dimension, projection (features x 512) and baseline are little-endian single precision.';

create table pgretrieval.proxy (
    codebook_id integer not null,
    bucket smallint not null default 0,
    passage_id integer not null,
    vector halfvec(512) not null,
    primary key (codebook_id, passage_id, bucket)
) partition by list (codebook_id);
comment on table pgretrieval.proxy is 'One vector per passage whose inner product with a query''s proxy predicts MaxSim.';
