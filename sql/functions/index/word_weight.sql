-- BM25's share of one passage in what a word is worth (k1 = 1.2, b = 0.75): more for a word that occurs often in a short passage.
create or replace function pgretrieval.word_weight(
    occurrences double precision, length double precision, mean_length double precision
) returns double precision
language sql immutable parallel safe
begin atomic
    select occurrences * 2.2 / (occurrences + 1.2 * (0.25 + 0.75 * length / mean_length));
end;
