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
    add column mean_words real;
comment on column pgretrieval.collection.language is
    'The text search configuration that makes words of texts; null where there is no text search.';
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
comment on table pgretrieval.word_posting is
    'The passages that hold a word, and its BM25 weight in each before the word''s own rarity. A build writes segment 0, each later add one of its own, numbered by its first passage id.';
