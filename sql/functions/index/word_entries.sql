-- Returns the postings of a word, from rows of its own and from the one that it shares with others.
create or replace function pgretrieval.word_entries(in_collection integer, searched text)
returns table (bucket smallint, passage_ids integer[], weights real[])
language sql stable parallel safe
begin atomic
    select posting.bucket,
           case when posting.words is null then posting.passage_ids else array(
               select entry.passage_id
               from unnest(posting.words, posting.passage_ids) with ordinality as entry (word, passage_id, place)
               where entry.word = searched
               order by entry.place
           ) end,
           case when posting.words is null then posting.weights else array(
               select entry.weight
               from unnest(posting.words, posting.weights) with ordinality as entry (word, weight, place)
               where entry.word = searched
               order by entry.place
           ) end
    from pgretrieval.word_posting as posting
    where posting.collection_id = in_collection and posting.word = any(array[searched, pgretrieval.shared_word(searched)])
      and (posting.words is null or searched = any(posting.words));
end;
