-- What a statement needs to decode tokens of a codebook: the bytes that a token's residual takes, the value of every dimension that each
-- packed byte stands for, and the text of all coordinates of `token.packed`, where the values are the statement's third parameter.
create or replace function pgretrieval.decoder(in_codebook integer, out width integer, out levels real[], out coordinates text)
language plpgsql stable
set search_path from current
as $function$
declare
    codebook pgretrieval.codebook;
    per_byte integer;
begin
    select * into strict codebook from pgretrieval.codebook c where c.codebook_id = in_codebook;
    per_byte := 8 / codebook.bits;
    width := (codebook.dim + per_byte - 1) / per_byte;
    levels := array(
        select codebook.weights[1 + ((byte >> (8 - codebook.bits * (1 + value))) & ((1 << codebook.bits) - 1))]
        from generate_series(0, per_byte - 1) as value, generate_series(0, 255) as byte
        order by value, byte
    );
    coordinates := (
        select string_agg(
            format('($3)[%s + get_byte(token.packed, %s)]', 1 + 256 * (dimension % per_byte), dimension / per_byte), ','
            order by dimension
        )
        from generate_series(0, codebook.dim - 1) as dimension
    );
end
$function$;
