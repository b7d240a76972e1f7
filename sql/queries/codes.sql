-- name: copy
copy pgretrieval.token_code (collection_id, codebook_id, bucket, passage_id, centroid_ids, residuals, tail) from stdin (format binary)

-- name: copy_postings
copy pgretrieval.posting (collection_id, codebook_id, centroid_id, bucket, segment, passage_ids) from stdin (format binary)

-- name: copy_posting_codes
copy pgretrieval.posting_code (collection_id, codebook_id, centroid_id, bucket, segment, passage_ids, positions, residuals)
from stdin (format binary)

-- name: insert
insert into pgretrieval.token_code (collection_id, codebook_id, bucket, passage_id, centroid_ids, residuals, tail)
values (%s, %s, %s, %s, %s, %s, %s)

-- name: insert_postings
insert into pgretrieval.posting (collection_id, codebook_id, centroid_id, bucket, segment, passage_ids) values (%s, %s, %s, %s, %s, %s)

-- name: insert_posting_codes
insert into pgretrieval.posting_code (collection_id, codebook_id, centroid_id, bucket, segment, passage_ids, positions, residuals)
values (%s, %s, %s, %s, %s, %s, %s, %s)

-- name: forget_codes_by_passage
-- The codes are in the postings; empty rows mark passages as coded.
update pgretrieval.token_code set centroid_ids = '', residuals = '', tail = ''
where collection_id = %(collection_id)s and codebook_id = %(codebook_id)s

-- name: note_segment
insert into pgretrieval.segment (collection_id, codebook_id, segment, passages, tokens, posting_rows, quantization_error)
values (%(collection_id)s, %(codebook_id)s, %(segment)s, %(passages)s, %(tokens)s, %(posting_rows)s, %(quantization_error)s)

-- name: index_words
select pgretrieval.index_words(%(collection_id)s, %(passage_ids)s::integer[])

-- name: index_first_words
-- Postings of a first build: the first segment, or a later one with the mean length of the first.
select pgretrieval.index_words(%(collection_id)s, %(passage_ids)s::integer[], %(mean)s::real, %(segment)s::integer)

-- name: clear_words
delete from pgretrieval.word_posting where collection_id = %(collection_id)s

-- name: uncoded
select passage_id from pgretrieval.passage
where collection_id = %(collection_id)s and not exists (
    select from pgretrieval.token_code
    where token_code.collection_id = passage.collection_id and token_code.codebook_id = %(codebook_id)s
      and token_code.passage_id = passage.passage_id and token_code.bucket = passage.bucket
)
order by passage_id

-- name: uncoded_between
-- Passages of a range that have vectors and no codes.
select passage_id from pgretrieval.token_vector
join pgretrieval.passage using (collection_id, bucket, passage_id)
where collection_id = %(collection_id)s and encoding = %(encoding)s and passage_id between %(first)s and %(last)s and not exists (
    select from pgretrieval.token_code
    where token_code.collection_id = passage.collection_id and token_code.codebook_id = %(codebook_id)s
      and token_code.passage_id = passage.passage_id and token_code.bucket = passage.bucket
)
order by passage_id

-- name: note_removed
-- Record which passages were deleted since coding: postings may still list them.
insert into pgretrieval.removed_passage (collection_id, bucket, passage_id)
select collection_id, bucket, passage_id
from pgretrieval.token_code
where collection_id = %(collection_id)s and codebook_id = %(codebook_id)s and not exists (
    select from pgretrieval.passage
    where passage.collection_id = token_code.collection_id and passage.passage_id = token_code.passage_id
      and passage.bucket = token_code.bucket
)
on conflict do nothing

-- name: drop_codes_of_removed
-- The same; nobody deletes passages meanwhile.
delete from pgretrieval.token_code
where collection_id = %(collection_id)s and codebook_id = %(codebook_id)s and not exists (
    select from pgretrieval.passage
    where passage.collection_id = token_code.collection_id and passage.passage_id = token_code.passage_id
      and passage.bucket = token_code.bucket
)

-- name: coded
select passage_id from pgretrieval.token_code where collection_id = %(collection_id)s and codebook_id = %(codebook_id)s

-- name: has_postings
select exists (select 1 from pgretrieval.posting where collection_id = %(collection_id)s and codebook_id = %(codebook_id)s)
    or exists (select 1 from pgretrieval.posting_code where collection_id = %(collection_id)s and codebook_id = %(codebook_id)s)

-- name: codes
select passage_id, bucket, centroid_ids, residuals || tail from pgretrieval.token_code
where collection_id = %(collection_id)s and codebook_id = %(codebook_id)s and passage_id = any(%(passage_ids)s)

-- name: centroid_ids
select passage_id, bucket, centroid_ids from pgretrieval.token_code
where collection_id = %(collection_id)s and codebook_id = %(codebook_id)s and passage_id = any(%(passage_ids)s)
