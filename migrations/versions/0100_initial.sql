-- Every table of version 0.1.0, by subject: collections, passages, codes and postings, learned proxies, factorisations of a cross-encoder's
-- scores, compaction and rebuilds, attached tables, locks, and row-level security.
--
-- Most tables are LIST-partitioned by collection_id: pgretrieval.create_collection makes one partition of each for a collection, and
-- dropping a collection drops them. `bucket` spreads a collection over the nodes of a distributed Postgres: pgretrieval.bucket_of a
-- passage's id, 0 where the collection has one.


-- Collections and their codebooks.

create table pgretrieval.collection (
    collection_id integer generated always as identity primary key,
    identity uuid not null default gen_random_uuid(),
    name text not null unique check (length(name) between 1 and 500) constraint collection_name_not_blank check (name ~ '\S'),
    created_at timestamptz not null default now(),
    auto_compact boolean not null default true,
    buckets smallint not null default 1 check (buckets between 1 and 1024),

    encoder jsonb constraint collection_encoder_object check (jsonb_typeof(encoder) = 'object'),
    encoding integer not null default 0,
    dim integer check (dim between 48 and 1024),
    unit_vectors boolean not null default true,
    vectors_per_passage integer check (vectors_per_passage > 0),
    given_vectors boolean not null default false,
    keep_vectors boolean not null default false,

    codebook_id integer,
    bits smallint not null check (bits in (1, 2, 4)),
    levels text not null check (levels in ('lloyd-max', 'quantile')),
    generator text not null default 'auto' check (generator in ('auto', 'proxy', 'postings')),
    scorer text not null default 'maxsim' check (scorer in ('maxsim', 'xtr', 'colxtr')),
    rerank text check (rerank = 'maxsim'),
    preset jsonb constraint collection_preset_object check (jsonb_typeof(preset) = 'object'),
    factorization_id integer,

    language text default 'english',
    mean_words real,
    title_weight real not null default 1 check (title_weight between 0 and 1000000),

    dense text,
    dense_key text,
    dense_dim integer,
    dense_encoding integer not null default 0,
    given_dense boolean not null default false
);
comment on table pgretrieval.collection is
    'One named set of passages; codebook_id is the active codebook, null before the first build. given_vectors tells that some came with '
    'token vectors of the caller''s, which encoding the text again would not give.';
comment on column pgretrieval.collection.identity is
    'Known by clients that keep something of the collection in memory. Unlike collection_id it never comes twice, a restore included.';
comment on column pgretrieval.collection.auto_compact is 'Whether clients that change the collection compact it once enough has gathered.';
comment on column pgretrieval.collection.buckets is
    'How many buckets its rows are in, by pgretrieval.bucket_of; it never changes.';
comment on column pgretrieval.collection.encoding is
    'Which of the token vectors are the collection''s: a number that grows with each change of the encoder.';
comment on column pgretrieval.collection.unit_vectors is 'Whether token vectors are scaled to length 1.';
comment on column pgretrieval.collection.vectors_per_passage is 'How many vectors every passage has; null where that differs.';
comment on column pgretrieval.collection.keep_vectors is
    'Whether token vectors stay after a build, so that scores are those of the vectors themselves and not of their codes.';
comment on column pgretrieval.collection.generator is
    'What generates candidates: proxy, postings, or auto, which leaves the choice to the client.';
comment on column pgretrieval.collection.scorer is
    'What scores passages: maxsim, all their tokens; xtr or colxtr, the tokens that were retrieved.';
comment on column pgretrieval.collection.rerank is
    'Whether the best passages by retrieved tokens are scored again by all their tokens, whose codes are then stored once more by passage.';
comment on column pgretrieval.collection.preset is
    'The preset by its name, and its options of searches: rows, of which the first holds whose limits, k and passages, are not exceeded.';
comment on column pgretrieval.collection.factorization_id is 'The factorisation that searches use, null where there is none.';
comment on column pgretrieval.collection.language is
    'The text search configuration that makes words of texts; null where there is no text search.';
comment on column pgretrieval.collection.mean_words is
    'Words of a passage on average, as of the last build; what BM25 measures the length of a passage by.';
comment on column pgretrieval.collection.title_weight is
    'How many times a word of the title counts, a word of the body counting once.';
comment on column pgretrieval.collection.dense is
    'Where one vector per passage is: null, nowhere; kept, in dense_vector; auto, there too, but passages whose token vectors were given '
    'may have none; else schema.table.column of the application''s own.';
comment on column pgretrieval.collection.dense_key is 'The column of that table that holds passages'' ids.';
comment on column pgretrieval.collection.dense_dim is 'The dimension of kept vectors, settled by the first passage.';
comment on column pgretrieval.collection.dense_encoding is
    'The same as encoding, of dense vectors; those that were given stay when the encoder changes.';
comment on column pgretrieval.collection.given_dense is
    'Whether kept vectors came from outside, so that the encoder does not make a query''s.';

create table pgretrieval.codebook (
    codebook_id integer generated always as identity primary key,
    identity uuid not null default gen_random_uuid(),
    collection_id integer not null references pgretrieval.collection on delete cascade deferrable initially deferred,
    dim integer not null,
    bits smallint not null,
    cutoffs real[] not null,
    weights real[] not null,
    centroid_count integer not null,
    id_bytes smallint not null generated always as (case when centroid_count <= 65536 then 2 else 4 end) stored,
    passages bigint not null,
    tokens bigint not null,
    quantization_error double precision,
    created_at timestamptz not null default now()
);
create index codebook_collection on pgretrieval.codebook (collection_id);
comment on table pgretrieval.codebook is
    'One trained version of centroids and codec; never changed once written. passages and tokens are what it was trained for.';
comment on column pgretrieval.codebook.identity is 'Never comes twice, a restore included.';
comment on column pgretrieval.codebook.id_bytes is 'How many bytes a centroid id takes in token_code.centroid_ids.';
comment on column pgretrieval.codebook.quantization_error is
    'Mean of 1 - cosine between a token vector and what its code decodes to, over the passages of the training; null where not measured.';

alter table pgretrieval.collection
    add foreign key (codebook_id) references pgretrieval.codebook (codebook_id) deferrable initially deferred;

create table pgretrieval.centroid (
    collection_id integer not null,
    codebook_id integer not null,
    centroid_id integer not null,
    vector @extschema:vector@.halfvec not null,
    primary key (collection_id, codebook_id, centroid_id)
) partition by list (collection_id);
comment on table pgretrieval.centroid is 'One k-means centre, unit length, half precision.';


-- Passages and their vectors.

create table pgretrieval.passage (
    collection_id integer not null,
    bucket smallint not null default 0,
    passage_id integer not null,
    key text not null,
    title text,
    body text not null,
    metadata jsonb not null default '{}' constraint passage_metadata_object check (jsonb_typeof(metadata) = 'object'),
    token_count integer not null check (token_count >= 0),
    ticket uuid not null default gen_random_uuid(),
    primary key (collection_id, passage_id, bucket),
    unique (collection_id, key, bucket)
) partition by list (collection_id);
create index passage_metadata on pgretrieval.passage using gin (metadata jsonb_path_ops);
comment on table pgretrieval.passage is 'One retrievable text; key is the caller''s id.';
comment on column pgretrieval.passage.ticket is
    'Shows that whoever knows it may see the passage; functions that read tables which all tenants share ask for it.';

create type pgretrieval.claims as (passage_ids integer[], tickets uuid[]);
comment on type pgretrieval.claims is 'Passages of one collection that the caller may see, with their tickets.';

create table pgretrieval.token_vector (
    collection_id integer not null,
    bucket smallint not null default 0,
    passage_id integer not null,
    vectors @extschema:vector@.halfvec[] not null,
    encoding integer not null default 0,
    primary key (collection_id, passage_id, bucket, encoding)
) partition by list (collection_id);
alter table pgretrieval.token_vector alter column vectors set storage external;
comment on table pgretrieval.token_vector is
    'Half-precision token vectors: of passages that are not coded yet, and of all passages where the collection keeps them.';
comment on column pgretrieval.token_vector.encoding is
    'Searches read those of collection.encoding; others a rebuild has made that is not finished, or are left of one and go soon.';

create table pgretrieval.dense_vector (
    collection_id integer not null,
    bucket smallint not null default 0,
    passage_id integer not null,
    vector @extschema:vector@.halfvec not null,
    encoding integer not null default 0,
    primary key (collection_id, passage_id, bucket, encoding)
) partition by list (collection_id);
alter table pgretrieval.dense_vector alter column vector set storage plain;
comment on table pgretrieval.dense_vector is 'One unit vector for each passage of a collection that keeps them.';
comment on column pgretrieval.dense_vector.encoding is 'Searches read those of collection.dense_encoding.';


-- Codes of token vectors, by passage and by centroid, and the words of texts.

create table pgretrieval.token_code (
    collection_id integer not null,
    codebook_id integer not null,
    bucket smallint not null default 0,
    passage_id integer not null,
    centroid_ids bytea not null,
    residuals bytea not null,
    tail bytea not null default '',
    primary key (collection_id, codebook_id, passage_id, bucket)
) partition by list (collection_id);
alter table pgretrieval.token_code
    alter column centroid_ids set storage external,
    alter column residuals set storage external,
    alter column tail set storage external;
comment on table pgretrieval.token_code is
    'All codes of a passage: one little-endian centroid id per token, of codebook.id_bytes bytes, and the packed residual bits '
    '(docs/design/bytes.md has the bit order). All are empty where posting_code alone holds them.';
comment on column pgretrieval.token_code.tail is
    'What comes after residuals, where these are cut so that they fill what Postgres stores out of line: pgretrieval.tail_bytes.';

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
    'The passages that hold a token of a centroid. Each add writes a segment of its own, numbered by its first passage id; a build writes '
    'segment 0.';

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
alter table pgretrieval.posting_code
    alter column passage_ids set storage external,
    alter column positions set storage external,
    alter column residuals set storage external;
comment on table pgretrieval.posting_code is
    'The tokens of a centroid, in order of passage and position: the passage of each, its place there, counted from 0, and its packed '
    'residual bits. It takes the place of posting where scores come from retrieved tokens; segments are as there.';

create table pgretrieval.word_posting (
    collection_id integer not null,
    word text not null,
    bucket smallint not null default 0,
    segment integer not null,
    passage_ids integer[] not null,
    weights real[] not null,
    words text[],
    primary key (collection_id, word, bucket, segment)
) partition by list (collection_id);
alter table pgretrieval.word_posting
    alter column passage_ids set storage external,
    alter column weights set storage external,
    alter column words set storage external;
comment on table pgretrieval.word_posting is
    'The passages that hold a word, and its BM25 weight in each before the word''s own rarity. A build writes segment 0, each later add '
    'one of its own, numbered by its first passage id.';
comment on column pgretrieval.word_posting.words is
    'The word of each entry in a row that words of one or two passages share, under pgretrieval.shared_word; null in the row of one word.';


-- Learned proxies. `proxy` is LIST-partitioned by codebook_id: a new codebook's proxies have their own partition and vector index, and
-- a dropped codebook's partition is dropped.

create table pgretrieval.proxy_model (
    codebook_id integer primary key references pgretrieval.codebook on delete cascade,
    threshold real not null,
    directions bytea not null,
    projection bytea not null,
    anchors bytea not null,
    baseline bytea not null
);
alter table pgretrieval.proxy_model
    alter column directions set storage external,
    alter column projection set storage external,
    alter column anchors set storage external,
    alter column baseline set storage external;
comment on table pgretrieval.proxy_model is
    'What turns token vectors into proxies, one row per codebook: directions and anchors are rows of little-endian half-precision numbers '
    'of the collection''s dimension, projection (features x 512) and baseline are little-endian single precision.';

create table pgretrieval.proxy (
    codebook_id integer not null,
    bucket smallint not null default 0,
    passage_id integer not null,
    vector @extschema:vector@.halfvec(512) not null,
    primary key (codebook_id, passage_id, bucket)
) partition by list (codebook_id);
comment on table pgretrieval.proxy is 'One vector per passage whose inner product with a query''s proxy predicts MaxSim.';


-- Factorisations of a cross-encoder's scores (ANNCUR): anchors, scores, and one vector for each passage. `anchor_score` is LIST-partitioned
-- by matrix_id and `item_embedding` by factorization_id: a new one has its own partition, and a dropped one's partition is dropped.

create table pgretrieval.score_matrix (
    matrix_id integer generated always as identity primary key,
    collection_id integer not null references pgretrieval.collection on delete cascade,
    cross_encoder jsonb not null,
    fingerprint text not null,
    queries integer not null check (queries > 0),
    queries_digest text not null,
    per_query integer check (per_query > 0),
    created_at timestamptz not null default now(),
    unique (collection_id, fingerprint, queries_digest)
);
comment on table pgretrieval.score_matrix is
    'Scores of a collection''s passages for the same anchor queries by one cross-encoder, which the fingerprint tells from others. It '
    'grows: passages that came later are scored when somebody asks for it.';
comment on column pgretrieval.score_matrix.per_query is
    'How many passages were scored for each anchor query (AXN); null if all were (ANNCUR).';

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
    'One passage''s score for each anchor query, little-endian, in half precision, or in single precision in all rows of a matrix whose '
    'first scores half precision would round too much; if not all pairs were scored, places of queries, as little-endian integers of '
    'four bytes, and then their scores in single precision. Written and committed in blocks, so that a run that is interrupted goes on.';

create table pgretrieval.factorization (
    factorization_id integer generated always as identity primary key,
    identity uuid not null default gen_random_uuid(),
    collection_id integer not null references pgretrieval.collection on delete cascade deferrable initially deferred,
    matrix_id integer not null references pgretrieval.score_matrix on delete cascade,
    asked_items integer not null,
    anchor_items integer not null check (anchor_items between 1 and 4000),
    asked_selection text not null check (asked_selection in ('auto', 'greedy', 'random', 'kmeans', 'top', 'search')),
    selection text not null check (selection in ('greedy', 'random', 'kmeans', 'top', 'search')),
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
alter table pgretrieval.factorization
    alter column inverse set storage external,
    alter column intersection set storage external;
comment on table pgretrieval.factorization is
    'One choice of anchor items and what makes item embeddings of scores. inverse (anchor items x anchor queries, little-endian double '
    'precision) is U, multiplied by the inverse of the anchor items'' directions; intersection is C (anchor queries x anchor items), the '
    'anchor items'' scores, in single precision. centre is what all item embeddings have in common, and is not in them. The '
    'regularisation, errors and recall are of held-out anchor queries; split is how many calls of a budget go to anchors, by budget. '
    'Without anchor items (AXN) anchor_items is the dimension, intersection the anchor queries'' vectors, and inverse empty.';
comment on column pgretrieval.factorization.identity is 'Never comes twice, a restore included.';

alter table pgretrieval.collection
    add foreign key (factorization_id) references pgretrieval.factorization (factorization_id) deferrable initially deferred;

create table pgretrieval.anchor_item (
    factorization_id integer not null references pgretrieval.factorization on delete cascade,
    place integer not null check (place > 0),
    bucket smallint not null default 0,
    passage_id integer not null,
    mean_score real not null,
    direction @extschema:vector@.vector not null,
    primary key (factorization_id, place, bucket)
);
alter table pgretrieval.anchor_item alter column direction set storage external;
comment on table pgretrieval.anchor_item is
    'The anchor items of a factorisation, the most telling first; mean_score is over the anchor queries. One that was deleted keeps its '
    'place.';
comment on column pgretrieval.anchor_item.direction is
    'One row of a symmetric matrix by which a query''s anchor scores become its query vector: the inner product with all of them is the '
    'number at this place.';

create table pgretrieval.item_embedding (
    factorization_id integer not null,
    bucket smallint not null default 0,
    passage_id integer not null,
    embedding @extschema:vector@.vector not null,
    primary key (factorization_id, passage_id, bucket)
) partition by list (factorization_id);
alter table pgretrieval.item_embedding alter column embedding set storage external;
comment on table pgretrieval.item_embedding is
    'One vector per passage whose inner product with a query vector, made of a query''s scores of the anchor items, estimates the '
    'passage''s score, up to that of factorization.centre. Passages that came since have none until they are scored.';


-- Segments and deleted passages for compaction, and the progress of compactions and rebuilds.

create table pgretrieval.segment (
    collection_id integer not null references pgretrieval.collection on delete cascade,
    codebook_id integer not null,
    segment integer not null,
    passages integer not null,
    tokens bigint not null,
    posting_rows integer not null,
    quantization_error double precision,
    compacting boolean not null default false,
    primary key (collection_id, codebook_id, segment)
);
comment on table pgretrieval.segment is
    'What adds wrote after the build: one row for each segment of postings that is still apart (posting_rows > 0), and one, segment 0, for '
    'all that were merged. quantization_error is the mean over the tokens, null where not measured.';

create table pgretrieval.removed_passage (
    collection_id integer not null references pgretrieval.collection on delete cascade,
    bucket smallint not null default 0,
    passage_id integer not null,
    compacting boolean not null default false,
    primary key (collection_id, passage_id, bucket)
);
comment on table pgretrieval.removed_passage is
    'Passages that were deleted and that postings may still list; a compaction drops their entries and then these rows.';

create table pgretrieval.compaction (
    collection_id integer primary key references pgretrieval.collection on delete cascade,
    codebook_id integer not null,
    next_centroid integer not null default 0,
    next_word text
);
comment on table pgretrieval.compaction is
    'A compaction under way: centroids before next_centroid are done, and words before next_word once all centroids are. It works on the '
    'segments and removed passages that are marked compacting.';

create table pgretrieval.rebuild (
    collection_id integer primary key references pgretrieval.collection on delete cascade,
    encoder jsonb,
    dim integer not null,
    encoding integer not null,
    codebook_id integer,
    mean_words real,
    switched boolean not null default false,
    recounted integer not null default 0,
    vectors_per_passage integer
);
comment on table pgretrieval.rebuild is
    'A build or rebuild under way: the encoder that it changes to, null for none; the encoding whose token vectors it trains on; the '
    'codebook that it makes, null until it is trained; whether searches use it already and only what it replaced is left to drop; and up '
    'to which passage the tokens are counted anew then.';
comment on column pgretrieval.rebuild.vectors_per_passage is 'What the collection''s number becomes at the switch.';

create table pgretrieval.leftover (
    name text primary key
);
comment on table pgretrieval.leftover is
    'Empty partitions of dropped collections, replaced codebooks and factorisations, which pgretrieval.drop_leftover() drops. They are '
    'dropped later, so that nobody waits for it.';


-- Attached collections: their tables, and the keys of changed rows.

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
    'A collection that follows a table: its passages are the rows of source, by key_column, or what query yields for these. source_name is '
    'what the table was called when it was attached.';

-- The application inserts here in its own transactions and never waits: there are no unique constraints or foreign keys. Keys may be
-- longer than an index entry, so the index contains their hash.
create table pgretrieval.queue (
    queue_id bigint generated always as identity primary key,
    collection_id integer not null,
    key text,
    enqueued_at timestamptz not null default now(),
    attempts smallint not null default 0,
    not_before timestamptz not null default '-infinity',
    claimed_until timestamptz not null default '-infinity',
    error text,
    parked_at timestamptz
);
create index queue_due on pgretrieval.queue (collection_id, queue_id) where parked_at is null;
create index queue_key on pgretrieval.queue (collection_id, hashtext(key));
comment on table pgretrieval.queue is
    'Keys of rows that have changed, each to be looked at again; null is every key. A worker deletes an entry in the transaction that '
    'makes the collection agree. Parked entries have failed for good, with their error.';
comment on column pgretrieval.queue.claimed_until is
    'Until then other workers leave the key to the one that has claimed it, which locks nothing while it encodes.';

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


-- Locks of collections, as tables that are empty but for the parts of builds: changes share a collection's partition of change_lock by a
-- delete from it, and the switch of a build takes it exclusively. Unlike advisory locks, they require rights.

create table pgretrieval.change_lock (collection_id integer not null) partition by list (collection_id);
comment on table pgretrieval.change_lock is
    'Always empty. Its partitions are locked by those who change a collection, and by the switch of a build.';
create table pgretrieval.build_lock (
    collection_id integer not null,
    encoding integer not null,
    codebook_id integer,
    first_passage integer not null,
    last_passage integer not null,
    passages integer not null
) partition by list (collection_id);
comment on table pgretrieval.build_lock is
    'Builds of one collection exclude each other by a lock of its partition. Its rows are the parts of their encoding (no codebook_id) and '
    'coding that are left, each a range of passages; a process claims one by deleting it in the transaction that writes the result.';
create table pgretrieval.factorization_lock (collection_id integer not null) partition by list (collection_id);
comment on table pgretrieval.factorization_lock is
    'Always empty. Factorisations of one collection exclude each other by a lock of its partition.';
create table pgretrieval.following_lock (collection_id integer not null) partition by list (collection_id);
comment on table pgretrieval.following_lock is
    'Always empty. Workers share the lock of a collection''s partition, and attaching and detaching have it alone.';


-- Row-level security: the application's policies on pgretrieval.passage and pgretrieval.collection apply to every other table
-- (docs/reference/row-level-security.md).

do $policies$
declare
    everything constant text := '(select not pg_catalog.row_security_active(''pgretrieval.passage''::regclass))';
    every_collection constant text := '(select not pg_catalog.row_security_active(''pgretrieval.collection''::regclass))';
    found record;
begin
    -- Rows of a passage are visible and writable for roles that see the passage.
    for found in
        select * from (values
            ('token_vector', 'passage.collection_id = token_vector.collection_id', 'passage_id'),
            ('token_code', 'passage.collection_id = token_code.collection_id', 'passage_id'),
            ('dense_vector', 'passage.collection_id = dense_vector.collection_id', 'passage_id'),
            ('proxy', 'passage.collection_id = (select codebook.collection_id from pgretrieval.codebook
                                                where codebook.codebook_id = proxy.codebook_id)', 'passage_id'),
            ('anchor_score', 'passage.collection_id = (select score_matrix.collection_id from pgretrieval.score_matrix
                                                       where score_matrix.matrix_id = anchor_score.matrix_id)', 'passage_id'),
            ('item_embedding', 'passage.collection_id = (select factorization.collection_id from pgretrieval.factorization
                                                         where factorization.factorization_id = item_embedding.factorization_id)',
             'passage_id')
        ) as own (relation, in_collection, passage)
    loop
        execute format('alter table pgretrieval.%I enable row level security', found.relation);
        execute format(
            'create policy own on pgretrieval.%1$I using (
                 %2$s or exists (
                     select from pgretrieval.passage
                     where %3$s and passage.bucket = %1$I.bucket and passage.passage_id = %1$I.%4$I
                 )
             )',
            found.relation, everything, found.in_collection, found.passage
        );
    end loop;

    -- Rows that list passages of all tenants are visible to roles that see all passages; a writer must see every passage in its row.
    for found in
        select * from (values
            ('posting', 'unnest(posting.passage_ids)', 'and passage.bucket = posting.bucket'),
            ('posting_code', 'unnest(posting_code.passage_ids)', 'and passage.bucket = posting_code.bucket'),
            ('word_posting', 'unnest(word_posting.passage_ids)', 'and passage.bucket = word_posting.bucket'),
            ('segment', 'unnest(array[segment.segment])', '')
        ) as shared (relation, listed, of_bucket)
    loop
        execute format('alter table pgretrieval.%I enable row level security', found.relation);
        execute format('create policy everything on pgretrieval.%I for select using (%s)', found.relation, everything);
        execute format(
            'create policy own on pgretrieval.%1$I for insert with check (
                 %2$s or not exists (
                     select from %3$s as listed (passage_id)
                     where not exists (
                         select from pgretrieval.passage
                         where passage.collection_id = %1$I.collection_id %4$s and passage.passage_id = listed.passage_id
                     )
                 )
             )',
            found.relation, everything, found.listed, found.of_bucket
        );
    end loop;

    -- Tables that reveal texts or changes of all tenants.
    for found in
        select unnest(array['removed_passage', 'compaction', 'rebuild', 'anchor_query', 'queue', 'source_passage']) as relation
    loop
        execute format('alter table pgretrieval.%I enable row level security', found.relation);
        execute format('create policy everything on pgretrieval.%I using (%s)', found.relation, everything);
    end loop;

    -- Statistics over all passages at a build: visible to roles that see the collection.
    for found in
        select * from (values
            ('codebook', 'collection.collection_id = codebook.collection_id'),
            ('centroid', 'collection.collection_id = centroid.collection_id'),
            ('score_matrix', 'collection.collection_id = score_matrix.collection_id'),
            ('factorization', 'collection.collection_id = factorization.collection_id'),
            ('attachment', 'collection.collection_id = attachment.collection_id'),
            ('proxy_model', 'collection.collection_id = (select codebook.collection_id from pgretrieval.codebook
                                                         where codebook.codebook_id = proxy_model.codebook_id)'),
            ('anchor_item', 'collection.collection_id = (select factorization.collection_id from pgretrieval.factorization
                                                         where factorization.factorization_id = anchor_item.factorization_id)')
        ) as of_collection (relation, matching)
    loop
        execute format('alter table pgretrieval.%I enable row level security', found.relation);
        execute format(
            'create policy known on pgretrieval.%I using (%s or exists (select from pgretrieval.collection where %s))',
            found.relation, every_collection, found.matching
        );
    end loop;
end
$policies$;
