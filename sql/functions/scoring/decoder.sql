-- What a statement needs to decode tokens of a codebook: the bytes that a token's centroid number and residual take, and the text of the
-- residual of `token.packed` as a vector, where the statement's third parameter is `levels`: for each value in a packed byte a table of
-- 256 bytes.
--
-- Every weight is a whole number of steps, the largest magnitude 127 (pgretrieval/numerics/residual.py), and the tables have that number
-- plus 127: get_byte is the fastest look-up there is (docs/design/sql-searches.md).
create or replace function pgretrieval.decoder(
    in_codebook integer, out id_bytes integer, out width integer, out levels bytea[], out residual text
)
language plpgsql stable
set search_path from current
as $function$
declare
    codebook pgretrieval.codebook;
    per_byte integer;
    step double precision;
    in_steps bytea[];
begin
    select * into strict codebook from pgretrieval.codebook c where c.codebook_id = in_codebook;
    id_bytes := codebook.id_bytes;
    per_byte := 8 / codebook.bits;
    width := (codebook.dim + per_byte - 1) / per_byte;
    step := (select max(abs(weight))::double precision / 127 from unnest(codebook.weights) as weight);
    in_steps := array(
        select substr(int4send(127 + coalesce(round(level.weight / nullif(step, 0)), 0)::integer), 4)
        from unnest(codebook.weights) with ordinality as level (weight, place)
        order by level.place
    );
    levels := array(
        select string_agg(
            in_steps[1 + ((byte >> (8 - codebook.bits * (1 + value))) & ((1 << codebook.bits) - 1))], '' order by byte
        )
        from generate_series(0, per_byte - 1) as value
        cross join generate_series(0, 255) as byte
        group by value
        order by value
    );
    residual := (
        select format(
            '((array[%s]::@extschema:vector@.vector operator(@extschema:vector@.-) array_fill(127, array[%s])::@extschema:vector@.vector) '
            'operator(@extschema:vector@.*) array_fill(%L::real, array[%2$s])::@extschema:vector@.vector)',
            string_agg(
                format('get_byte(($3)[%s], get_byte(token.packed, %s))', 1 + dimension % per_byte, dimension / per_byte), ','
                order by dimension
            ),
            codebook.dim, step
        )
        from generate_series(0, codebook.dim - 1) as dimension
    );
end
$function$;
