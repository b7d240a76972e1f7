-- The characters of scripts that are written without spaces between words, for a bracket expression: Thai and Lao, Burmese, Khmer, Kana,
-- and Han.
create or replace function pgretrieval.unspaced_scripts() returns text
language sql immutable parallel safe
begin atomic
    select '\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff';
end;
