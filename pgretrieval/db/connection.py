"""A pool of connections, shared by threads, with transactions for reading one snapshot and for writing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, TypeAlias

import psycopg
from psycopg import IsolationLevel
from psycopg.pq import TransactionStatus
from psycopg.rows import TupleRow
from psycopg_pool import ConnectionPool

from pgretrieval.assets import statements
from pgretrieval.db.background import Background
from pgretrieval.db.errors import storage_errors
from pgretrieval.db.joining import Joined, joining

Connection: TypeAlias = "psycopg.Connection[TupleRow]"

_SQL = statements("catalog")
_CONNECT_SECONDS = 10
_OPTIONS: dict[str, Any] = {"connect_timeout": _CONNECT_SECONDS, "application_name": "pgretrieval"}


class Database:
    """The server at `url`. Connections are opened when needed and checked before use."""

    def __init__(self, url: str, *, max_connections: int = 8) -> None:
        self.url = url
        self._pool: ConnectionPool[Connection] = ConnectionPool(
            url,
            min_size=0,
            max_size=max_connections,
            open=False,
            timeout=_CONNECT_SECONDS,
            max_idle=600,
            check=ConnectionPool.check_connection,
            configure=_without_session_state,
            kwargs={"autocommit": True, **_OPTIONS},
        )
        self._owner_process = os.getpid()
        self.background = Background()

    def probe(self) -> None:
        """Connect once and leave, so that a wrong URL is known at once and not after the pool's retries.

        Raises DatabaseUnavailableError.
        """
        with storage_errors(self.url, "connecting"):
            psycopg.connect(self.url, connect_timeout=_CONNECT_SECONDS).close()
            self._pool.open()

    def close(self) -> None:
        """Close every connection. A child process leaves its parent's alone."""
        if os.getpid() == self._owner_process:
            self.background.close()
            self._pool.close()

    @contextmanager
    def connection(self, doing: str, *, all_or_nothing: bool = False) -> Iterator[Connection]:
        """A connection in autocommit mode; `doing` names the work in error messages."""
        with storage_errors(self.url, doing, all_or_nothing=all_or_nothing), self._pool.connection() as connection:
            yield connection

    @contextmanager
    def writing(self, doing: str, joined: Joined | None = None) -> Iterator[Connection]:
        """One read-write transaction: committed at the end, rolled back by any exception; or a part of the caller's own."""
        if joined is not None:
            with storage_errors(self.url, doing, all_or_nothing=True), joining(joined) as connection:
                yield connection
            return
        with self.connection(doing, all_or_nothing=True) as connection, connection.transaction():
            yield connection

    @contextmanager
    def holding(self, doing: str) -> Iterator[Connection]:
        """One transaction on a connection of its own, for locks that are held while others come and go.

        It keeps no snapshot between statements, so that it holds no vacuum up, and a sign of life each minute, so that no network
        between takes it for dead.
        """
        with storage_errors(self.url, doing), psycopg.connect(self.url, keepalives_idle=60, **_OPTIONS) as connection:
            connection.isolation_level = IsolationLevel.READ_COMMITTED
            yield connection

    def session(self) -> Connection:
        """A connection outside the pool, in autocommit mode; the caller closes it."""
        connection = psycopg.connect(self.url, autocommit=True, **_OPTIONS)
        _without_session_state(connection)
        return connection

    @contextmanager
    def reading(self, doing: str, *, pipelined: bool = False) -> Iterator[Connection]:
        """One read-only snapshot (REPEATABLE READ); `pipelined`, a statement is waited for only when its rows are fetched."""
        with self.connection(doing) as connection:
            connection.isolation_level, connection.read_only = IsolationLevel.REPEATABLE_READ, True
            try:
                with connection.pipeline() if pipelined else nullcontext(), connection.transaction():
                    yield connection
            finally:
                if connection.info.transaction_status == TransactionStatus.IDLE:
                    connection.isolation_level, connection.read_only = None, None
                else:  # it was lost, perhaps without its knowing yet; the pool makes another
                    connection.close()


def _without_session_state(connection: Connection) -> None:
    """Prepare no statements behind a pooler: the next transaction may be in another session, which has none of them.

    A pooler shows in the number of the server's process, in place of which it tells clients one of its own.
    """
    try:
        if value(connection, _SQL["server_process"]) != connection.info.backend_pid:
            connection.prepare_threshold = None
    except psycopg.Error:
        connection.close()  # the pool forgets it, and its session would stay
        raise


def one(connection: Connection, statement: Any, parameters: dict[str, Any] | None = None) -> TupleRow | None:
    """The first row of a statement, or None."""
    return connection.execute(statement, parameters).fetchone()


def value(connection: Connection, statement: Any, parameters: dict[str, Any] | None = None) -> Any:
    """The first column of the first row, or None."""
    row = one(connection, statement, parameters)
    return row[0] if row else None
