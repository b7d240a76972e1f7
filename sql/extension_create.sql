do $create$
begin
    if pg_catalog.to_regnamespace('pgretrieval') is not null then
        raise exception 'this database has a schema pgretrieval already'
            using errcode = 'PGR01',
                  hint = 'Keep it and upgrade it by `pgretrieval migrate`; or save the passages (select key, title, body, metadata from '
                         'pgretrieval.passage), drop it (drop schema pgretrieval cascade) and create the extension again.';
    end if;
end
$create$;
