-- The words of one text, those of its title with weight A, and whether some were left out: of very long texts the first 250,000 characters
-- are read, and where these have more different words than a tsvector holds, the first half of that, and so on. It always does for 200,000
-- bytes.
create or replace function pgretrieval.word_vector(language regconfig, title text, body text, out words tsvector, out cut boolean)
language plpgsql stable
set search_path from current
as $function$
declare
    characters integer := 250000;
    heading text := coalesce(title, '');
begin
    loop
        begin
            words := setweight(pgretrieval.text_words(language, left(heading, characters)), 'A')
                     || pgretrieval.text_words(language, left(body, greatest(characters - length(heading), 0)));
            cut := length(heading) + length(body) > characters;
            return;
        exception when program_limit_exceeded then
            characters := characters / 2;
        end;
    end loop;
end
$function$;
