-- The words of one text by a text search configuration. In scripts without spaces, all pairs of neighbouring characters are words.
create or replace function pgretrieval.text_words(language regconfig, body text) returns tsvector
language sql stable parallel safe
begin atomic
    select to_tsvector(
        language,
        case when body ~ ('[' || pgretrieval.unspaced_scripts() || ']') then pgretrieval.character_pairs(body) else body end
    );
end;
