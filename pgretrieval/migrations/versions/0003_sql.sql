-- What applications in SQL need: vectors that stay beside the codes, and an index over metadata.

drop function if exists pgretrieval.create_collection(text, integer, jsonb, integer, text, text);

alter table pgretrieval.collection add column keep_vectors boolean not null default false;
comment on column pgretrieval.collection.keep_vectors is
    'Whether token vectors stay after a build, so that scores are those of the vectors themselves and not of their codes.';
comment on table pgretrieval.token_vector is
    'Half-precision token vectors: of passages that are not coded yet, and of all passages where the collection keeps them.';

create index passage_metadata on pgretrieval.passage using gin (metadata jsonb_path_ops);

alter table pgretrieval.collection
    add column language text default 'english',
    add column title_weight real not null default 1 check (title_weight >= 0 and title_weight < 'infinity'),
    add column mean_words real;
comment on column pgretrieval.collection.language is
    'The text search configuration that makes words of texts; null where there is no text search.';
comment on column pgretrieval.collection.title_weight is
    'How many times a word of the title counts, a word of the body counting once.';
comment on column pgretrieval.collection.mean_words is
    'Words of a passage on average, as of the last build; what BM25 measures the length of a passage by.';

create table pgretrieval.word_posting (
    collection_id integer not null,
    word text not null,
    bucket smallint not null default 0,
    segment integer not null,
    passage_ids integer[] not null,
    weights real[] not null,
    primary key (collection_id, word, bucket, segment)
) partition by list (collection_id);
alter table pgretrieval.word_posting alter column passage_ids set storage external;
alter table pgretrieval.word_posting alter column weights set storage external;
do $partitions$
declare
    partition text;
    held_id integer;
begin
    for held_id in select collection_id from pgretrieval.collection loop
        partition := 'word_posting_' || held_id;
        execute format('create table pgretrieval.%I (like pgretrieval.word_posting including all)', partition);
        execute format('alter table pgretrieval.word_posting attach partition pgretrieval.%I for values in (%s)', partition, held_id);
    end loop;
end
$partitions$;
comment on table pgretrieval.word_posting is
    'The passages that hold a word, and its BM25 weight in each before the word''s own rarity. A build writes segment 0, each later add one of its own, numbered by its first passage id.';

alter table pgretrieval.collection
    add column dense text,
    add column dense_key text,
    add column dense_dim integer,
    add column given_dense boolean not null default false;
comment on column pgretrieval.collection.dense is
    'Where one vector per passage is: null, nowhere; kept, in dense_vector; else schema.table.column of the application''s own.';
comment on column pgretrieval.collection.dense_key is 'The column of that table that holds passages'' ids.';
comment on column pgretrieval.collection.dense_dim is 'The dimension of kept vectors, settled by the first passage.';
comment on column pgretrieval.collection.given_dense is 'Whether kept vectors came from outside, so that the encoder does not make a query''s.';

create table pgretrieval.dense_vector (
    collection_id integer not null,
    bucket smallint not null default 0,
    passage_id integer not null,
    vector halfvec not null,
    primary key (collection_id, passage_id, bucket)
) partition by list (collection_id);
alter table pgretrieval.dense_vector alter column vector set storage plain;
comment on table pgretrieval.dense_vector is 'One unit vector for each passage of a collection that keeps them.';
