"""Everything that a collection stores, to compare two builds."""

from __future__ import annotations

import psycopg
from psycopg import sql

_VOLATILE = ["identity", "ticket", "created_at"]


def everything(url: str) -> dict[str, list[str]]:
    """All rows of all tables as JSON, by table; those of a database with one collection. What is random or a time is left out."""
    with psycopg.connect(url) as connection:
        tables = connection.execute(
            """select relname from pg_class
               where relnamespace = 'pgretrieval'::regnamespace and relkind in ('r', 'p') and not relispartition
                 and relname not in ('schema_version', 'leftover') order by relname"""
        ).fetchall()
        statement = sql.SQL("select (to_jsonb(held) - %s::text[])::text as row from {} as held order by row")
        return {
            name: [row for (row,) in connection.execute(statement.format(sql.Identifier("pgretrieval", name)), [_VOLATILE])]
            for (name,) in tables
        }
