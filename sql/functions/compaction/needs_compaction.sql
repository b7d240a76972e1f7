-- Returns whether a collection that compacts automatically has gathered enough: on average two segments per centroid and bucket, or as many removed
-- passages as a tenth of those it was built for and a thousand more. Runs as the owner of the schema, see compact().
create or replace function pgretrieval.needs_compaction(in_collection integer) returns boolean
language plpgsql stable security definer
set search_path from current
as $function$
begin
    return coalesce(
        (
            select collection.auto_compact and (
                exists (select from pgretrieval.compaction where compaction.collection_id = in_collection)
                or (
                    select sum(segment.posting_rows) from pgretrieval.segment
                    where segment.collection_id = in_collection and segment.codebook_id = codebook.codebook_id
                ) > 2::bigint * codebook.centroid_count * collection.buckets
                or (
                    select count(*) from pgretrieval.removed_passage where removed_passage.collection_id = in_collection
                ) > 1000 + codebook.passages / 10
            )
            from pgretrieval.collection
            join pgretrieval.codebook on codebook.codebook_id = collection.codebook_id
            where collection.collection_id = in_collection
        ),
        false
    );
end
$function$;
revoke execute on function pgretrieval.needs_compaction(integer) from public;
