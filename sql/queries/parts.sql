-- name: plan_texts
-- Parts of so many passages that have no token vectors of an encoding.
insert into pgretrieval.build_lock (collection_id, encoding, first_passage, last_passage, passages)
select %(collection_id)s, %(encoding)s, pg_catalog.min(passage_id), pg_catalog.max(passage_id), pg_catalog.count(*)
from (
    select passage_id, (pg_catalog.row_number() over (order by passage_id) - 1) / %(size)s as part
    from pgretrieval.passage
    where collection_id = %(collection_id)s and not exists (
        select from pgretrieval.token_vector as staged
        where staged.collection_id = passage.collection_id and staged.passage_id = passage.passage_id
          and staged.bucket = passage.bucket and staged.encoding = %(encoding)s
    )
) as missing
group by part
order by part

-- name: plan_codes
insert into pgretrieval.build_lock (collection_id, encoding, codebook_id, first_passage, last_passage, passages)
select %(collection_id)s, %(encoding)s, %(codebook_id)s, part.first, part.last, part.passages
from rows from (
    pg_catalog.unnest(%(first)s::integer[]), pg_catalog.unnest(%(last)s::integer[]), pg_catalog.unnest(%(passages)s::integer[])
) as part (first, last, passages)

-- name: forget
-- Parts that belong to another stage; it waits for processes that are at one.
delete from pgretrieval.build_lock
where collection_id = %(collection_id)s
  and (encoding <> %(encoding)s or codebook_id is distinct from %(codebook_id)s::integer)

-- name: left
select pg_catalog.count(*), coalesce(pg_catalog.sum(passages), 0) from pgretrieval.build_lock
where collection_id = %(collection_id)s and encoding = %(encoding)s and codebook_id is not distinct from %(codebook_id)s::integer

-- name: left_of_any
select pg_catalog.count(*), coalesce(pg_catalog.sum(passages), 0) from pgretrieval.build_lock where collection_id = %(collection_id)s

-- name: claim
-- The part is left to others again if the transaction ends otherwise than by a commit. The server looks for clients that have vanished
-- without a word, which would keep a part for hours.
delete from pgretrieval.build_lock
where collection_id = %(collection_id)s and ctid = (
    select ctid from pgretrieval.build_lock
    where collection_id = %(collection_id)s and encoding = %(encoding)s and (codebook_id is not null or %(texts)s)
    order by first_passage limit 1
    for update skip locked
)
returning encoding, codebook_id, first_passage, last_passage,
    pg_catalog.set_config('tcp_keepalives_idle', '30', true), pg_catalog.set_config('tcp_keepalives_interval', '10', true),
    pg_catalog.set_config('tcp_keepalives_count', '3', true)
