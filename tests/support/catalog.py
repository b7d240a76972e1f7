"""A database's pgretrieval schema as sorted text, for comparison."""

from __future__ import annotations

import psycopg

_LINES = """
select format('column %s.%s %s%s%s', c.relname, a.attname, format_type(a.atttypid, a.atttypmod),
              case when a.attnotnull then ' not null' end, ' default ' || pg_get_expr(d.adbin, d.adrelid))
       || format(' storage %s identity %s', a.attstorage, a.attidentity)
from pg_attribute a join pg_class c on c.oid = attrelid
left join pg_attrdef d on (d.adrelid, d.adnum) = (a.attrelid, a.attnum)
where c.relnamespace = 'pgretrieval'::regnamespace and a.attnum > 0 and not a.attisdropped
union all
select format('relation %s %s %s %s', relname, relkind, reloptions, obj_description(oid, 'pg_class'))
from pg_class where relnamespace = 'pgretrieval'::regnamespace
union all
select format('constraint %s.%s %s', conrelid::regclass, conname, pg_get_constraintdef(oid))
from pg_constraint where connamespace = 'pgretrieval'::regnamespace
union all
select 'index ' || pg_get_indexdef(indexrelid) from pg_index join pg_class on pg_class.oid = indexrelid
where relnamespace = 'pgretrieval'::regnamespace
union all
select format('partitioned %s %s', partrelid::regclass, pg_get_partkeydef(partrelid)) from pg_partitioned_table
union all
select format('function %s %s', pg_get_functiondef(oid), proacl) from pg_proc where pronamespace = 'pgretrieval'::regnamespace
union all
select format('policy %s.%s %s %s %s', relname, polname, polcmd, pg_get_expr(polqual, polrelid),
              pg_get_expr(polwithcheck, polrelid))
from pg_policy join pg_class on pg_class.oid = polrelid where relnamespace = 'pgretrieval'::regnamespace
union all
select 'row security ' || relname from pg_class where relnamespace = 'pgretrieval'::regnamespace and relrowsecurity
union all
select 'extension ' || extname from pg_extension
union all
select 'revision ' || version_num from pgretrieval.schema_version
"""


def catalogue(url: str) -> list[str]:
    """Every table, column, constraint, index, policy and function, one per line, sorted."""
    with psycopg.connect(url) as connection:
        return sorted(row[0] for row in connection.execute(_LINES).fetchall())
