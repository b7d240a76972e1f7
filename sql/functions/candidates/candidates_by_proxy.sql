-- Returns the n passages whose proxies have the highest inner product with the query's (LEMUR). All of them come from the index only if
-- hnsw.ef_search is at least n, or hnsw.iterative_scan is on. The join removes deleted passages.
create or replace function pgretrieval.candidates_by_proxy(
    in_collection integer, in_codebook integer, query real[], n integer
) returns table (bucket smallint, passage_id integer, score real)
language sql stable parallel safe rows 256
begin atomic
    select nearest.bucket, nearest.passage_id, nearest.score
    from (
        select proxy.bucket, proxy.passage_id, (-(proxy.vector operator(@extschema:vector@.<#>) query::@extschema:vector@.halfvec(512)))::real as score
        from pgretrieval.proxy
        where proxy.codebook_id = in_codebook
        order by proxy.vector operator(@extschema:vector@.<#>) query::@extschema:vector@.halfvec(512)
        limit n
    ) as nearest
    join pgretrieval.passage
        on passage.collection_id = in_collection
        and passage.bucket = nearest.bucket
        and passage.passage_id = nearest.passage_id
    order by nearest.score desc, nearest.passage_id;
end;
