"""Changes within the caller's transaction."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import psycopg
from psycopg.adapt import AdaptersMap
from psycopg.pq import Format, PipelineStatus
from psycopg.rows import TupleRow, tuple_row
from typing_extensions import Self

from pgretrieval import validate
from pgretrieval.assets import statements
from pgretrieval.db.parameters import ADAPTERS
from pgretrieval.errors import ConfigError
from pgretrieval.importing import is_a

if TYPE_CHECKING:
    import sqlalchemy
    from sqlalchemy.orm import Session

Joined: TypeAlias = "psycopg.Connection[Any] | sqlalchemy.Connection | Session"
"""A connection of the caller to the same database."""

_SQL = statements("server")
_ENCODINGS = ("utf-8", "utf8")


@contextmanager
def joining(given: Joined, database: tuple[Any, ...]) -> Iterator[psycopg.Connection[TupleRow]]:
    """The driver's connection in a savepoint of the caller's transaction, which is begun if there is none.

    Only the caller commits, except for a psycopg connection in autocommit mode outside a transaction. The caller's cursors, rows
    and types have no effect and do not change. Raises ConfigError if `given` is not a usable connection, or leads to another
    database than `database`, the result of `identity`.
    """
    connection = _driver_connection(given)
    if connection.pgconn.pipeline_status != PipelineStatus.OFF or connection.info.encoding not in _ENCODINGS:
        msg = f"the connection is in pipeline mode or has the encoding {connection.info.encoding}; leave that mode, or set UTF8"
        raise ConfigError(msg)
    theirs = cast("psycopg.Connection[TupleRow]", _CallersConnection(connection))
    if identity(theirs) != database:  # without a transaction the driver begins one, which the caller ends
        msg = "the connection leads to another database than the collection is in; give one to the same"
        raise ConfigError(msg)
    with connection.transaction():
        yield theirs


def identity(connection: psycopg.Connection[TupleRow]) -> tuple[Any, ...]:
    """A value that identifies a database, unique across servers."""
    return tuple(connection.execute(_SQL["server_database"]).fetchone() or ())


class _CallersConnection:
    """A caller's connection with the package's cursors."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    def cursor(self, *, binary: bool = False) -> psycopg.Cursor[TupleRow]:
        """Return a cursor, like `psycopg.Connection.cursor`."""
        cursor = _OwnCursor(self._connection)
        cursor.format = Format.BINARY if binary else Format.TEXT
        return cursor

    def execute(self, query: Any, params: Any = None, **options: Any) -> psycopg.Cursor[TupleRow]:
        """Execute a statement, like `psycopg.Connection.execute`."""
        return self.cursor().execute(query, params, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


class _OwnCursor(psycopg.Cursor[TupleRow]):
    """Sends and reads values as the package's own connections do."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        super().__init__(connection, row_factory=tuple_row)
        self._adapters = AdaptersMap(ADAPTERS)
        self._reset()

    def execute(self, query: Any, params: Any = None, *, prepare: bool | None = False, binary: bool | None = None) -> Self:
        """Execute without preparing, because a generic plan locks the partitions of all collections."""
        return super().execute(query, params, prepare=prepare, binary=binary)


def _driver_connection(given: Any) -> psycopg.Connection[Any]:
    found = given.connection() if is_a(given, "sqlalchemy.orm", "Session") else given
    if is_a(found, "sqlalchemy", "Connection"):
        if not found.in_transaction():
            found.begin()
        found = found.connection.driver_connection
    if not isinstance(found, psycopg.Connection):
        msg = (
            f"connection is {validate.shown(given)}; give a psycopg.Connection, or a SQLAlchemy Connection or Session over "
            "postgresql+psycopg (not an asynchronous one)"
        )
        raise ConfigError(msg)
    return found
