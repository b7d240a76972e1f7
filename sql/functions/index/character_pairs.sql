-- A text whose runs of characters of scripts without spaces are replaced by pairs of neighbours: in the place of a run those that begin at
-- its first, third, fifth character, and at the end of the text those that begin at the second, fourth and so on. A character that stands
-- alone stays.
create or replace function pgretrieval.character_pairs(body text) returns text
language sql immutable parallel safe
begin atomic
    select regexp_replace(body, format('([%1$s][%1$s])|(?<=[%1$s])[%1$s]|(?<![%1$s])([%1$s])(?![%1$s])', scripts), ' \1\2 ', 'g')
           || regexp_replace(
                  regexp_replace(
                      regexp_replace(body, format('[^%s]+', scripts), ' ', 'g'), format('(^| )[%s]', scripts), ' ', 'g'
                  ),
                  format('([%1$s][%1$s])|[%1$s]', scripts), ' \1 ', 'g'
              )
    from pgretrieval.unspaced_scripts() as scripts;
end;
