-- Scores from the retrieved tokens alone (XTR, ColXTR).

alter table pgretrieval.collection
    add column scorer text not null default 'maxsim' check (scorer in ('maxsim', 'xtr', 'colxtr')),
    add column rerank text check (rerank = 'maxsim'),
    add column unit_vectors boolean not null default true;
comment on column pgretrieval.collection.scorer is
    'What scores passages: maxsim, all their tokens; xtr or colxtr, the tokens that were retrieved.';
comment on column pgretrieval.collection.rerank is
    'Whether the best passages by retrieved tokens are scored again by all their tokens, whose codes are then stored once more by passage.';
comment on column pgretrieval.collection.unit_vectors is 'Whether token vectors are scaled to length 1.';

create table pgretrieval.posting_code (
    collection_id integer not null,
    codebook_id integer not null,
    centroid_id integer not null,
    bucket smallint not null default 0,
    segment integer not null,
    passage_ids integer[] not null,
    positions integer[] not null,
    residuals bytea not null,
    primary key (collection_id, codebook_id, centroid_id, bucket, segment)
) partition by list (collection_id);
alter table pgretrieval.posting_code alter column passage_ids set storage external;
alter table pgretrieval.posting_code alter column positions set storage external;
alter table pgretrieval.posting_code alter column residuals set storage external;
comment on table pgretrieval.posting_code is
    'The tokens of a centroid, in order of passage and position: the passage of each, its place there, counted from 0, and its packed residual bits. It takes the place of posting where scores come from retrieved tokens; segments are as there.';
comment on table pgretrieval.token_code is
    'All codes of a passage: one little-endian int4 centroid id per token, and the packed residual bits (docs/decisions.md has the bit order). Both are empty where posting_code alone holds them.';

-- These have more parameters now.
drop function if exists pgretrieval.partitioned_tables(text);
drop function if exists pgretrieval.create_collection(
    text, integer, jsonb, integer, text, text, boolean, text, double precision, text, text
);
