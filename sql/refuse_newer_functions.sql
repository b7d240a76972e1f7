-- Runs before the functions are created: those of a newer package stay.
do $refuse$
declare
    held constant pg_catalog.text := pg_catalog.substring(
        pg_catalog.obj_description(pg_catalog.to_regnamespace('pgretrieval'), 'pg_namespace'), '^functions [0-9a-f]+ ([0-9]{1,9})$');
begin
    if held::pg_catalog.int4 operator(pg_catalog.>) NUMBER then
        raise exception 'the functions in this database are of set %, newer than this client''s, which is NUMBER', held
            using errcode = 'PGR01', hint = 'Upgrade the package: pip install --upgrade pgretrieval';
    end if;
end;
$refuse$;
