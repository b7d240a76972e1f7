-- Dense vectors, one for each passage, and how much a word of the title counts.
-- Development versions between 0003 and this had some of it under 0003: hence the "if not exists".

drop view if exists pgretrieval.collections;
drop function if exists pgretrieval.create_collection(text, integer, jsonb, integer, text, text, boolean, text);
drop function if exists pgretrieval.words_of(integer, regconfig, integer[]);
drop function if exists pgretrieval.score_passages(pgretrieval.collection, integer[], vector[], integer);
drop function if exists pgretrieval.hybrid_search(text, vector[], text, integer, jsonpath, text[], integer, real[], integer, integer);
drop function if exists pgretrieval.add_passage(text, text, text, vector[], text, jsonb);

alter table pgretrieval.collection
    add column if not exists title_weight real not null default 1 check (title_weight >= 0 and title_weight < 'infinity'),
    add column if not exists dense text,
    add column if not exists dense_key text,
    add column if not exists dense_dim integer,
    add column if not exists given_dense boolean not null default false;
comment on column pgretrieval.collection.title_weight is
    'How many times a word of the title counts, a word of the body counting once.';
comment on column pgretrieval.collection.dense is
    'Where one vector per passage is: null, nowhere; kept, in dense_vector; else schema.table.column of the application''s own.';
comment on column pgretrieval.collection.dense_key is 'The column of that table that holds passages'' ids.';
comment on column pgretrieval.collection.dense_dim is 'The dimension of kept vectors, settled by the first passage.';
comment on column pgretrieval.collection.given_dense is 'Whether kept vectors came from outside, so that the encoder does not make a query''s.';

-- Collections that were there before revision 0003 have no partition for words yet.
do $partitions$
declare
    partition text;
    held_id integer;
begin
    for held_id in select collection_id from pgretrieval.collection loop
        partition := 'word_posting_' || held_id;
        if to_regclass(format('pgretrieval.%I', partition)) is null then
            execute format('create table pgretrieval.%I (like pgretrieval.word_posting including all)', partition);
            execute format('alter table pgretrieval.word_posting attach partition pgretrieval.%I for values in (%s)', partition, held_id);
        end if;
    end loop;
end
$partitions$;

create table if not exists pgretrieval.dense_vector (
    collection_id integer not null,
    bucket smallint not null default 0,
    passage_id integer not null,
    vector halfvec not null,
    primary key (collection_id, passage_id, bucket)
) partition by list (collection_id);
alter table pgretrieval.dense_vector alter column vector set storage plain;
comment on table pgretrieval.dense_vector is 'One unit vector for each passage of a collection that keeps them.';
