"""Connections to one database: pooled or dedicated, for reading one snapshot and for writing."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from typing import Any, NoReturn, TypeAlias, TypeVar

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
from pgretrieval.errors import ConfigError, DatabaseUnavailableError, SchemaError

Connection: TypeAlias = "psycopg.Connection[TupleRow]"

_SQL = statements("server")
_ENCODING = "UTF8"
_Result = TypeVar("_Result")
_DATABASES: weakref.WeakSet[Database] = weakref.WeakSet()


class Database:
    """The server at `url`. Threads share its pool; a forked process gets its own.

    No method holds a pooled connection while it requests another, or while the caller's code or a model runs.
    """

    def __init__(self, url: str, *, max_connections: int, server: EmbeddedServer | None = None) -> None:
        self.url = url
        self._server = server
        self._max_connections = max_connections
        self._parent_pools: list[Pool] = []
        self._identity: tuple[Any, ...] | None = None
        self._open_pool()
        _DATABASES.add(self)

    def _open_pool(self) -> None:
        self._closing = threading.Event()
        self._pool = Pool(self._open, self._max_connections)
        self._threads = ThreadPoolExecutor(self._max_connections, "pgretrieval")
        self.background = Background()

    @property
    def embedded(self) -> bool:
        """True if the server is the package's own."""
        return self._server is not None

    @property
    def in_use(self) -> int:
        """Number of pooled connections in use."""
        return self._pool.lent

    def after_fork(self) -> None:
        """Abandon the parent's connections: a child's messages would mix with the parent's."""
        self._parent_pools.append(self._pool)
        self._open_pool()

    def __reduce__(self) -> NoReturn:
        msg = (
            "a database handle, and a collection opened from it, cannot be pickled or copied, since its connections belong to this "
            "process; connect again where it is needed: pgretrieval.connect(url)"
        )
        raise ConfigError(msg)

    def probe(self) -> None:
        """Connect once, so that a wrong URL is detected at once.

        Raises DatabaseUnavailableError, or SchemaError if the database's encoding is not UTF-8.
        """
        with storage_errors(self.url, "connecting"), self._open() as connection:
            encoding = connection.info.parameter_status("server_encoding")
        if encoding not in (None, _ENCODING):
            msg = (
                f"the database has the encoding {encoding}, which cannot hold every text; create one with ENCODING 'UTF8' "
                "(CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0) and use that"
            )
            raise SchemaError(msg)

    def submit(self, call: Callable[[], _Result]) -> Future[_Result]:
        """Start a call in one of as many threads as the pool has connections, so that it need not wait for one.

        Raises DatabaseUnavailableError if the handle is closed.
        """
        if self._closing.is_set():
            msg = "the database handle is closed; connect again"
            raise DatabaseUnavailableError(msg)
        return self._threads.submit(call)

    def close(self) -> None:
        """Close every connection, also those in use; running calls end, and their statements are cancelled."""
        self.background.stop()
        self._closing.set()
        self._threads.shutdown(wait=False)
        self.background.wait()
        self._pool.close()

    def _open(self) -> WatchedConnection:
        if self._server is None:
            return connect(self.url, self._closing)
        self._server.enter()
        try:
            return connect(self.url, self._closing)
        except psycopg.OperationalError:
            if not self._server.revive():
                raise
            return connect(self.url, self._closing)

    @contextmanager
    def connection(self, doing: str, *, all_or_nothing: bool = False) -> Iterator[Connection]:
        """A connection in autocommit mode; `doing` names the work in error messages."""
        with storage_errors(self.url, doing, all_or_nothing=all_or_nothing), self._pool.lease() as connection:
            yield connection

    @contextmanager
    def writing(self, doing: str, joined: Joined | None = None) -> Iterator[Connection]:
        """Open a read-write transaction, committed at the end and rolled back on any exception; or join the caller's."""
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
            _discard_on_interrupt(connection),
        ):
            yield connection

    @contextmanager
    def preparing(self, doing: str, joined: Joined | None) -> Iterator[Connection]:
        """Open a connection for statements before a change: in the caller's transaction if the change joins it, or in none."""
        with self.connection(doing) if joined is None else self.writing(doing, joined) as connection:
            yield connection

    @contextmanager
    def reading(self, doing: str, *, pipelined: bool = False, dedicated: bool = False) -> Iterator[Connection]:
        """Open a read-only snapshot (REPEATABLE READ); if `pipelined`, statements are awaited only when their rows are fetched.

        If `dedicated`, it is outside the pool, without the role's time limits, and the caller's code may run meanwhile.
        """
        with storage_errors(self.url, doing), self._unlimited() if dedicated else self._pool.lease() as connection:
            connection.isolation_level, connection.read_only = IsolationLevel.REPEATABLE_READ, True
            try:
                with (
                    connection.pipeline() if pipelined else nullcontext(),
                    connection.transaction(),
                    _discard_on_interrupt(connection),
                ):
                    yield connection
            finally:
                if connection.info.transaction_status == TransactionStatus.IDLE:
                    connection.isolation_level, connection.read_only = None, None

    @contextmanager
    def dedicated(self, doing: str) -> Iterator[Connection]:
        """Open a connection outside the pool, in autocommit mode, for long work: the role's time limits do not apply."""
        with storage_errors(self.url, doing), self._unlimited() as connection, _discard_on_interrupt(connection):
            yield connection

    @contextmanager
    def _unlimited(self) -> Iterator[WatchedConnection]:
        with self._open() as connection:
            if not connection.pooled:
                connection.execute(_SQL["without_time_limits"], {"local": False})
            yield connection

    @contextmanager
    def locking(self, doing: str) -> Iterator[Connection]:
        """Open a transaction on a separate connection, for long-lived locks.

        It holds no snapshot between statements, so it does not delay vacuum.
        """
        with storage_errors(self.url, doing), self._open() as connection:
            connection.isolation_level = IsolationLevel.READ_COMMITTED
            with connection.transaction(), _discard_on_interrupt(connection):
                connection.execute(_SQL["without_time_limits"], {"local": True})
                yield connection

    def session(self) -> WatchedConnection:
        """Open a connection outside the pool, in autocommit mode; the caller closes it."""
        return self._open()


@contextmanager
def _discard_on_interrupt(connection: WatchedConnection) -> Iterator[None]:
    """Close the connection at once on an unexpected exception, such as Ctrl-C, because its pending results are not read."""
    try:
        yield
    except EXPECTED:
        raise
    except BaseException:
        connection.discard()
        raise


def _after_fork() -> None:
    for database in list(_DATABASES):
        database.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def one(connection: Connection, statement: Any, parameters: dict[str, Any] | None = None) -> TupleRow | None:
    """The first row of a statement, or None."""
    return connection.execute(statement, parameters).fetchone()


def value(connection: Connection, statement: Any, parameters: dict[str, Any] | None = None) -> Any:
    """The first column of the first row, or None."""
    row = one(connection, statement, parameters)
    return row[0] if row else None
