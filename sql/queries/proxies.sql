-- name: save_model
insert into pgretrieval.proxy_model (codebook_id, threshold, directions, projection, anchors, baseline)
values (%(codebook_id)s, %(threshold)s, %(directions)s, %(projection)s, %(anchors)s, %(baseline)s)

-- name: load_model
select threshold, directions, anchors, projection, baseline from pgretrieval.proxy_model where codebook_id = %(codebook_id)s

-- name: create
select pgretrieval.create_partition('proxy', 'codebook_id', %(codebook_id)s)

-- name: copy
copy pgretrieval.proxy (codebook_id, bucket, passage_id, vector) from stdin (format binary)

-- name: insert
insert into pgretrieval.proxy (codebook_id, bucket, passage_id, vector) values (%s, %s, %s, %s)

-- name: index
select pgretrieval.index_vectors('proxy_' || %(codebook_id)s::text, 512)

-- name: drop_proxies_of_removed
delete from pgretrieval.proxy
where codebook_id = %(codebook_id)s and not exists (
    select from pgretrieval.passage
    where passage.collection_id = %(collection_id)s and passage.passage_id = proxy.passage_id and passage.bucket = proxy.bucket
)
