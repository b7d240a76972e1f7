"""Bulk writes to one table: by binary COPY, or by INSERT for roles under row-level security, which COPY does not support."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from typing_extensions import LiteralString

from pgretrieval.assets import statements
from pgretrieval.db.connection import Connection, value
from pgretrieval.db.parameters import Field

_SQL = statements("server")


def write_rows(
    connection: Connection,
    table: str,
    copy: LiteralString,
    insert: LiteralString,
    types: Sequence[str],
    rows: Iterable[tuple[Any, ...]],
) -> None:
    """Write rows to a table by one of two statements; values of type "bytea" are binary fields of the columns' types."""
    with connection.cursor() as cursor:
        if value(connection, _SQL["restricted"], {"table": table}):
            cursor.executemany(insert, ([Field(part) if isinstance(part, bytes) else part for part in row] for row in rows))
            return
        with cursor.copy(copy) as stream:
            stream.set_types(types)
            for row in rows:
                stream.write_row(row)
