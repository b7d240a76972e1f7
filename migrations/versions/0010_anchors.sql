-- Factorisations of a cross-encoder's scores (ANNCUR): anchors, scores, and one vector for each passage.
--
-- anchor_score is LIST-partitioned by matrix_id and item_embedding by factorization_id: a new one is written beside the one that
-- searches use, and one that goes takes its partition with it.

create table pgretrieval.score_matrix (
    matrix_id integer generated always as identity primary key,
    collection_id integer not null references pgretrieval.collection on delete cascade,
    cross_encoder jsonb not null,
    fingerprint text not null,
    queries integer not null check (queries > 0),
    queries_digest text not null,
    created_at timestamptz not null default now(),
    unique (collection_id, fingerprint, queries_digest)
);
comment on table pgretrieval.score_matrix is
    'Scores of a collection''s passages for the same anchor queries by one cross-encoder, which the fingerprint tells from others. It grows: passages that came later are scored when somebody asks for it.';

create table pgretrieval.anchor_query (
    matrix_id integer not null references pgretrieval.score_matrix on delete cascade,
    place integer not null,
    query text not null,
    primary key (matrix_id, place)
);
comment on table pgretrieval.anchor_query is 'The queries of a score matrix, in the order of their scores.';

create table pgretrieval.anchor_score (
    matrix_id integer not null,
    bucket smallint not null default 0,
    passage_id integer not null,
    scores bytea not null,
    primary key (matrix_id, passage_id, bucket)
) partition by list (matrix_id);
alter table pgretrieval.anchor_score alter column scores set storage external;
comment on table pgretrieval.anchor_score is
    'One passage''s score for each anchor query, as little-endian single precision. Written and committed in blocks, so that a run that is interrupted goes on.';

create table pgretrieval.factorization (
    factorization_id integer generated always as identity primary key,
    collection_id integer not null references pgretrieval.collection on delete cascade,
    matrix_id integer not null references pgretrieval.score_matrix on delete cascade,
    asked_items integer not null,
    anchor_items integer not null check (anchor_items between 1 and 4000),
    selection text not null check (selection in ('greedy', 'random', 'kmeans', 'top')),
    seed integer not null,
    element text not null check (element in ('vector', 'halfvec')),
    constant_queries integer not null,
    regularisation text not null check (regularisation in ('truncation', 'ridge')),
    strength double precision not null,
    rank integer not null,
    condition double precision not null,
    held_out_error double precision not null,
    held_out_recall double precision not null,
    split jsonb not null,
    inverse bytea not null,
    intersection bytea not null,
    centre real[] not null,
    created_at timestamptz not null default now()
);
create index factorization_collection on pgretrieval.factorization (collection_id);
alter table pgretrieval.factorization alter column inverse set storage external;
alter table pgretrieval.factorization alter column intersection set storage external;
comment on table pgretrieval.factorization is
    'One choice of anchor items and what makes item embeddings of scores. inverse is U (anchor items x anchor queries) in little-endian double precision; intersection is C (anchor queries x anchor items), the anchor items'' scores, in single precision. centre is what all item embeddings have in common, and is not in them. The regularisation, errors and recall are of held-out anchor queries; split is how many calls of a budget go to anchors, by budget.';

create table pgretrieval.anchor_item (
    factorization_id integer not null references pgretrieval.factorization on delete cascade,
    place integer not null check (place > 0),
    bucket smallint not null default 0,
    passage_id integer not null,
    mean_score real not null,
    primary key (factorization_id, place, bucket)
);
comment on table pgretrieval.anchor_item is
    'The anchor items of a factorisation, the most telling first; mean_score is over the anchor queries. One that was deleted keeps its place.';

create table pgretrieval.item_embedding (
    factorization_id integer not null,
    bucket smallint not null default 0,
    passage_id integer not null,
    embedding vector not null,
    primary key (factorization_id, passage_id, bucket)
) partition by list (factorization_id);
alter table pgretrieval.item_embedding alter column embedding set storage external;
comment on table pgretrieval.item_embedding is
    'One vector per passage whose inner product with a query''s scores of the anchor items estimates the passage''s score, up to that of factorization.centre. Passages that came since have none until they are scored.';

alter table pgretrieval.collection
    add column factorization_id integer references pgretrieval.factorization (factorization_id) deferrable initially deferred;
comment on column pgretrieval.collection.factorization_id is 'The factorisation that searches use, null where there is none.';

-- Collections of texts alone, which are found by words and by cross-encoders.
alter table pgretrieval.passage
    drop constraint passage_token_count_check,
    add constraint passage_token_count_check check (token_count >= 0);
