-- Returns the key under which a build stores the postings of a word that few passages hold, in one row with other such words. No text has
-- such a word.
create or replace function pgretrieval.shared_word(word text) returns text
language sql stable parallel safe
begin atomic
    select chr(1) || left(encode(sha256(convert_to(word, 'UTF8')), 'hex'), 3);
end;
