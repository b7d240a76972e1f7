-- Collections that follow tables of the application: what each is attached to, and the keys whose rows have changed.

create table pgretrieval.attachment (
    collection_id integer primary key references pgretrieval.collection on delete cascade,
    source regclass not null,
    source_name text not null,
    key_column text not null,
    text_columns text[] not null check (cardinality(text_columns) > 0),
    metadata_columns text[] not null,
    query text,
    created_at timestamptz not null default now()
);
comment on table pgretrieval.attachment is
    'A collection that follows a table: its passages are the rows of source, by key_column, or what query yields for these. source_name is what the table was called when it was attached.';

-- The application inserts here in its own transactions and waits for nobody: no row is unique, none refers to another.
create table pgretrieval.queue (
    queue_id bigint generated always as identity primary key,
    collection_id integer not null,
    key text,
    enqueued_at timestamptz not null default now(),
    attempts smallint not null default 0,
    not_before timestamptz not null default '-infinity',
    error text,
    parked_at timestamptz
);
comment on table pgretrieval.queue is
    'Keys of rows that have changed, each to be looked at again; null is every key. A worker deletes an entry in the transaction that makes the collection agree. Parked entries have failed for good, with their error.';
create index queue_due on pgretrieval.queue (collection_id, queue_id) where parked_at is null;
create index queue_key on pgretrieval.queue (collection_id, key);

create table pgretrieval.source_passage (
    collection_id integer not null references pgretrieval.attachment on delete cascade,
    bucket smallint not null default 0,
    passage_key text not null,
    source_key text not null,
    primary key (collection_id, passage_key, bucket)
);
create index source_passage_source on pgretrieval.source_passage (collection_id, source_key);
comment on table pgretrieval.source_passage is
    'Which row of the source each passage of an attached query came from, so that passages that the query yields no longer are found.';
