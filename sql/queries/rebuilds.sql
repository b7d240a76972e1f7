-- name: lock
-- Builds of one collection exclude each other by a lock in a separate transaction, which stays open and idle during the whole build.
-- A session lock does not work behind a pooler, where each transaction may have another session. Another build is waited for only
-- briefly, since who waits can take parts of it. The server looks for clients that have vanished without a word.
select pg_catalog.set_config('idle_in_transaction_session_timeout', '0', true), pg_catalog.set_config('lock_timeout', '100ms', true),
       pg_catalog.set_config('tcp_keepalives_idle', '30', true), pg_catalog.set_config('tcp_keepalives_interval', '10', true),
       pg_catalog.set_config('tcp_keepalives_count', '3', true),
       pgretrieval.lock_collection(%(collection_id)s, 'build', 'share update exclusive')

-- name: let_go
-- A statement with parameters leaves a portal with its snapshot open until the next statement, which would delay every vacuum. This
-- one has none, so the driver uses the simple protocol, which leaves no portal.
select

-- name: lock_for_switch
-- Exclude all changes until the end of the transaction. The time limit is short, because later requests queue behind this one.
select pg_catalog.set_config('lock_timeout', '500ms', true),
       pgretrieval.lock_collection(%(collection_id)s, 'change', 'share row exclusive')

-- name: get
select encoder, dim, encoding, codebook_id, mean_words, switched, vectors_per_passage
from pgretrieval.rebuild where collection_id = %(collection_id)s

-- name: begin
insert into pgretrieval.rebuild (collection_id, encoder, dim, encoding, vectors_per_passage)
values (%(collection_id)s, %(encoder)s, %(dim)s, %(encoding)s, %(vectors_per_passage)s)
on conflict (collection_id) do update
set encoder = excluded.encoder, dim = excluded.dim, encoding = excluded.encoding, codebook_id = null, mean_words = null,
    switched = false, recounted = 0, vectors_per_passage = excluded.vectors_per_passage

-- name: inline_codes
select pgretrieval.inline_codes(%(collection_id)s, %(vectors_per_passage)s)

-- name: trained
update pgretrieval.rebuild set codebook_id = %(codebook_id)s where collection_id = %(collection_id)s

-- name: words_written
update pgretrieval.rebuild set mean_words = %(mean_words)s where collection_id = %(collection_id)s

-- name: switch
-- Activate the new index at commit.
update pgretrieval.collection
set codebook_id = rebuild.codebook_id,
    mean_words = coalesce(collection.mean_words, rebuild.mean_words),
    dim = rebuild.dim,
    encoder = coalesce(rebuild.encoder, collection.encoder),
    given_vectors = collection.given_vectors and rebuild.encoder is null,
    encoding = case when rebuild.encoder is null then collection.encoding else rebuild.encoding end,
    dense_encoding = case when %(dense_dim)s::integer is null then collection.dense_encoding else rebuild.encoding end,
    dense = case
        when collection.dense = 'auto' and not collection.given_dense and rebuild.encoder is not null and %(dense_dim)s::integer is null
        then null else collection.dense
    end,
    dense_dim = coalesce(%(dense_dim)s, collection.dense_dim),
    vectors_per_passage = rebuild.vectors_per_passage
from pgretrieval.rebuild
where collection.collection_id = %(collection_id)s and rebuild.collection_id = collection.collection_id

-- name: keep_segments_of_words
-- Postings of words do not change; their unmerged segments become segments of the new codebook.
insert into pgretrieval.segment (collection_id, codebook_id, segment, passages, tokens, posting_rows)
select segment.collection_id, %(codebook_id)s, segment.segment, 0, 0, segment.posting_rows
from pgretrieval.segment
join pgretrieval.collection using (collection_id)
where segment.collection_id = %(collection_id)s and segment.codebook_id = collection.codebook_id
  and segment.codebook_id <> %(codebook_id)s and segment.segment > 0 and segment.posting_rows > 0 and collection.language is not null
on conflict do nothing

-- name: switched
update pgretrieval.rebuild set switched = true where collection_id = %(collection_id)s

-- name: drop_replaced
select pgretrieval.drop_replaced(%(collection_id)s, %(n)s)
