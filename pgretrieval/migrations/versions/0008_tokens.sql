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
