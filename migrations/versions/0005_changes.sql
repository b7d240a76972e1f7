-- What changes of a collection leave to tidy up: segments of postings, entries of removed passages, and how far a compaction is.

alter table pgretrieval.collection add column auto_compact boolean not null default true;
comment on column pgretrieval.collection.auto_compact is 'Whether clients that change the collection compact it once enough has gathered.';

alter table pgretrieval.codebook add column quantization_error double precision;
comment on column pgretrieval.codebook.quantization_error is
    'Mean of 1 - cosine between a token vector and what its code decodes to, over the passages of the training; null where not measured.';

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
    'What adds wrote after the build: one row for each segment of postings that is still apart (posting_rows > 0), and one, segment 0, for all that were merged. quantization_error is the mean over the tokens, null where not measured.';

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
    'A compaction under way: centroids before next_centroid are done, and words before next_word once all centroids are. It works on the segments and removed passages that are marked compacting.';

-- What collections have gathered before this revision.
insert into pgretrieval.segment (collection_id, codebook_id, segment, passages, tokens, posting_rows)
select posting.collection_id, posting.codebook_id, posting.segment, 0, 0, count(*)
from pgretrieval.posting
where posting.segment > 0
group by posting.collection_id, posting.codebook_id, posting.segment;

insert into pgretrieval.removed_passage (collection_id, bucket, passage_id)
select distinct posting.collection_id, posting.bucket, entry.passage_id
from pgretrieval.posting
cross join lateral unnest(posting.passage_ids) as entry (passage_id)
where not exists (
    select from pgretrieval.passage
    where passage.collection_id = posting.collection_id and passage.bucket = posting.bucket and passage.passage_id = entry.passage_id
);
