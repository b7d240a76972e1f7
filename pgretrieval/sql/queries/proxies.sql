-- name: save_model
insert into pgretrieval.proxy_model (codebook_id, threshold, directions, projection, anchors, baseline)
values (%(codebook_id)s, %(threshold)s, %(directions)s, %(projection)s, %(anchors)s, %(baseline)s)

-- name: load_model
select threshold, directions, anchors, projection, baseline from pgretrieval.proxy_model where codebook_id = %(codebook_id)s

-- name: create
select pgretrieval.create_proxies(%(codebook_id)s)

-- name: copy
copy pgretrieval.proxy (codebook_id, passage_id, vector) from stdin (format binary)

-- name: index
select pgretrieval.index_proxies(%(codebook_id)s)

-- name: drop_others
select pgretrieval.drop_proxies(codebook_id) from pgretrieval.codebook
where collection_id = %(collection_id)s and codebook_id <> %(codebook_id)s
