-- What a rebuild makes beside what searches use: vectors of another encoder, and how far it is.

drop function if exists pgretrieval.index_centroids(integer, integer);
drop function if exists pgretrieval.index_dense(integer);
drop function if exists pgretrieval.index_words(integer, integer[]);

alter table pgretrieval.collection
    add column encoding integer not null default 0,
    add column dense_encoding integer not null default 0;
comment on column pgretrieval.collection.encoding is
    'Which of the token vectors are the collection''s: a number that grows with each change of the encoder.';
comment on column pgretrieval.collection.dense_encoding is 'The same of dense vectors; those that were given stay when the encoder changes.';

alter table pgretrieval.token_vector add column encoding integer not null default 0;
alter table pgretrieval.token_vector
    drop constraint token_vector_pkey,
    add primary key (collection_id, passage_id, bucket, encoding);
comment on column pgretrieval.token_vector.encoding is
    'Searches read those of collection.encoding; others a rebuild has made that is not finished, or are left of one and go soon.';

alter table pgretrieval.dense_vector add column encoding integer not null default 0;
alter table pgretrieval.dense_vector
    drop constraint dense_vector_pkey,
    add primary key (collection_id, passage_id, bucket, encoding);
comment on column pgretrieval.dense_vector.encoding is 'Searches read those of collection.dense_encoding.';

create table pgretrieval.rebuild (
    collection_id integer primary key references pgretrieval.collection on delete cascade,
    encoder jsonb,
    dim integer not null,
    encoding integer not null,
    codebook_id integer,
    mean_words real,
    switched boolean not null default false,
    recounted integer not null default 0
);
comment on table pgretrieval.rebuild is
    'A build or rebuild under way: the encoder that it changes to, null for none; the encoding whose token vectors it trains on; the codebook that it makes, null until it is trained; whether searches use it already and only what it replaced is left to drop; and up to which passage the tokens are counted anew then.';
