"""Connections to one database: of a pool that threads share, or of one's own; for one snapshot, and for writing."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, NoReturn, TypeAlias

import psycopg
from psycopg import IsolationLevel
from psycopg.pq import TransactionStatus
from psycopg.rows import TupleRow

from pgretrieval.assets import statements
from pgretrieval.db.background import Background
from pgretrieval.db.embedded import EmbeddedServer
from pgretrieval.db.errors import storage_errors
from pgretrieval.db.joining import Joined, identity, joining
from pgretrieval.db.pool import EXPECTED, Pool
from pgretrieval.db.watched import WatchedConnection, connect
from pgretrieval.errors import ConfigError, SchemaError

Connection: TypeAlias = "psycopg.Connection[TupleRow]"

_SQL = statements("server")
_ENCODING = "UTF8"
_OPEN: weakref.WeakSet[Database] = weakref.WeakSet()


class Database:
    """The server at `url`. Threads share its pool; a process that was forked gets another one by itself.

    No method holds a connection of the pool while it asks for another, or while code of the caller's or a model runs.
    """

    def __init__(self, url: str, *, max_connections: int = 8, server: EmbeddedServer | None = None) -> None:
        self.url = url
        self._server = server
        self._max_connections = max_connections
        self._of_parents: list[Pool] = []
        self._identity: tuple[Any, ...] | None = None
        self._begin()
        _OPEN.add(self)

    def _begin(self) -> None:
        self._leaving = threading.Event()
        self._pool = Pool(self._open, self._max_connections)
        self.background = Background()

    @property
    def embedded(self) -> bool:
        """True if the server is the package's own."""
        return self._server is not None

    def after_fork(self) -> None:
        """Leave the parent's connections alone: what a child sent there would mix with what the parent sends."""
        self._of_parents.append(self._pool)
        self._begin()

    def __reduce__(self) -> NoReturn:
        msg = (
            "a database handle, and a collection opened from it, cannot be pickled or copied, since its connections belong to this "
            "process; connect again where it is needed: pgretrieval.connect(url)"
        )
        raise ConfigError(msg)

    def probe(self) -> None:
        """Connect once and leave, so that a wrong URL is known at once.

        Raises DatabaseUnavailableError, and SchemaError where the database has another encoding than UTF-8.
        """
        with storage_errors(self.url, "connecting"), self._open() as connection:
            encoding = connection.info.parameter_status("server_encoding")
        if encoding not in (None, _ENCODING):
            msg = (
                f"the database has the encoding {encoding}, which cannot hold every text; create one with ENCODING 'UTF8' "
                "(CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0) and use that"
            )
            raise SchemaError(msg)

    def close(self) -> None:
        """Close every connection, those in use too: no call goes on, and what the server still does is cancelled."""
        self.background.stop()
        self._leaving.set()
        self.background.wait()
        self._pool.close()

    def _open(self) -> WatchedConnection:
        if self._server is None:
            return connect(self.url, self._leaving)
        self._server.enter()
        try:
            return connect(self.url, self._leaving)
        except psycopg.OperationalError:
            if not self._server.revive():
                raise
            return connect(self.url, self._leaving)

    @contextmanager
    def connection(self, doing: str, *, all_or_nothing: bool = False) -> Iterator[Connection]:
        """A connection in autocommit mode; `doing` names the work in error messages."""
        with storage_errors(self.url, doing, all_or_nothing=all_or_nothing), self._pool.lease() as connection:
            yield connection

    @contextmanager
    def writing(self, doing: str, joined: Joined | None = None) -> Iterator[Connection]:
        """Open a read-write transaction, committed at the end and rolled back by any exception; or join the caller's."""
        if joined is not None:
            if self._identity is None:
                with self.connection(doing) as own:
                    self._identity = identity(own)
            with storage_errors(self.url, doing, all_or_nothing=True), joining(joined, self._identity) as connection:
                yield connection
            return
        with (
            storage_errors(self.url, doing, all_or_nothing=True),
            self._pool.lease() as connection,
            connection.transaction(),
            _ended(connection),
        ):
            yield connection

    @contextmanager
    def looking(self, doing: str, joined: Joined | None) -> Iterator[Connection]:
        """Open a connection for statements before a change: in the transaction that the change will join, or outside any."""
        with self.connection(doing) if joined is None else self.writing(doing, joined) as connection:
            yield connection

    @contextmanager
    def reading(self, doing: str, *, pipelined: bool = False, apart: bool = False) -> Iterator[Connection]:
        """Open a read-only snapshot (REPEATABLE READ); if `pipelined`, statements are awaited only when their rows are fetched.

        `apart`, it is outside the pool, without time limits of the role's, and code of the caller's may run meanwhile.
        """
        with storage_errors(self.url, doing), self._unlimited() if apart else self._pool.lease() as connection:
            connection.isolation_level, connection.read_only = IsolationLevel.REPEATABLE_READ, True
            try:
                with connection.pipeline() if pipelined else nullcontext(), connection.transaction(), _ended(connection):
                    yield connection
            finally:
                if connection.info.transaction_status == TransactionStatus.IDLE:
                    connection.isolation_level, connection.read_only = None, None

    @contextmanager
    def apart(self, doing: str) -> Iterator[Connection]:
        """A connection outside the pool, in autocommit mode, for work that takes long: no time limit of the role's ends it."""
        with storage_errors(self.url, doing), self._unlimited() as connection, _ended(connection):
            yield connection

    @contextmanager
    def _unlimited(self) -> Iterator[WatchedConnection]:
        with self._open() as connection:
            if not connection.pooled:
                connection.execute(_SQL["without_time_limits"], {"local": False})
            yield connection

    @contextmanager
    def holding(self, doing: str) -> Iterator[Connection]:
        """Open a transaction on a separate connection, for long-lived locks.

        It keeps no snapshot between statements, so that it holds no vacuum up.
        """
        with storage_errors(self.url, doing), self._open() as connection:
            connection.isolation_level = IsolationLevel.READ_COMMITTED
            with connection.transaction(), _ended(connection):
                connection.execute(_SQL["without_time_limits"], {"local": True})
                yield connection

    def session(self) -> WatchedConnection:
        """A connection outside the pool, in autocommit mode; the caller closes it."""
        return self._open()


@contextmanager
def _ended(connection: WatchedConnection) -> Iterator[None]:
    """Close a connection at once where something unforeseen, such as Ctrl-C, ends the work: nothing waits for its answers then."""
    try:
        yield
    except EXPECTED:
        raise
    except BaseException:
        connection.discard()
        raise


def _leave_to_parent() -> None:
    for database in list(_OPEN):
        database.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)


def one(connection: Connection, statement: Any, parameters: dict[str, Any] | None = None) -> TupleRow | None:
    """The first row of a statement, or None."""
    return connection.execute(statement, parameters).fetchone()


def value(connection: Connection, statement: Any, parameters: dict[str, Any] | None = None) -> Any:
    """The first column of the first row, or None."""
    row = one(connection, statement, parameters)
    return row[0] if row else None
