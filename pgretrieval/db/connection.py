"""Connections to one database: pooled or dedicated, for reading one snapshot and for writing."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from contextvars import ContextVar
from dataclasses import dataclass
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
from pgretrieval.db.standbys import Freshness, StandbyLostError, Standbys
from pgretrieval.db.watched import WatchedConnection, connect
from pgretrieval.errors import ConfigError, DatabaseUnavailableError, SchemaError

Connection: TypeAlias = "psycopg.Connection[TupleRow]"

_SQL = statements("server")
_MAX_LAG: ContextVar[float | None] = ContextVar("max_lag", default=None)
_ENCODING = "UTF8"
_Result = TypeVar("_Result")
_DATABASES: weakref.WeakSet[Database] = weakref.WeakSet()


@dataclass(frozen=True, slots=True)
class Reads:
    """Where searches read: standbys, how many seconds they may be behind, and whether reads see the handle's own changes."""

    urls: Sequence[str] = ()
    max_lag: float | None = None
    read_your_writes: bool = False


class Database:
    """The server at `url`. Threads share its pool; a forked process gets its own.

    No method holds a pooled connection while it requests another, or while the caller's code or a model runs.
    """

    def __init__(self, url: str, *, max_connections: int, server: EmbeddedServer | None = None, reads: Reads | None = None) -> None:
        self.url = url
        self._reads = reads or Reads()
        self._changed = threading.Event()
        self._written: str | None = None
        self._server = server
        self._max_connections = max_connections
        self._parent_pools: list[Pool | Standbys] = []
        self._identity: tuple[Any, ...] | None = None
        self._open_pool()
        _DATABASES.add(self)

    def _open_pool(self) -> None:
        self._closing = threading.Event()
        self._pool = Pool(self._open, self._max_connections)
        self._standbys = Standbys(self._reads.urls, lambda url: connect(url, self._closing), self._max_connections)
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
        self._parent_pools += [self._pool, self._standbys]
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
        self._standbys.close()

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
        with (
            self._changing(),
            storage_errors(self.url, doing, all_or_nothing=all_or_nothing),
            self._pool.lease() as connection,
        ):
            yield connection

    @contextmanager
    def writing(self, doing: str, joined: Joined | None = None) -> Iterator[Connection]:
        """Open a read-write transaction, committed at the end and rolled back on any exception; or join the caller's."""
        if joined is not None:
            if self._identity is None:
                with self.connection(doing) as own:
                    self._identity = identity(own)
            with (
                self._changing(),
                storage_errors(self.url, doing, all_or_nothing=True),
                joining(joined, self._identity) as connection,
            ):
                yield connection
            return
        with (
            self._changing(),
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

        If `dedicated`, it is outside the pool, without the role's time limits, and the caller's code may run meanwhile. Otherwise
        it is on a standby, if the handle has any that is fresh enough.
        """
        with storage_errors(self.url, doing), self._unlimited() if dedicated else self._reader() as connection:
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
    def looking(self, doing: str) -> Iterator[Connection]:
        """Open a connection in autocommit mode for statements that only read: on a standby, as for `reading`."""
        with storage_errors(self.url, doing), self._reader() as connection:
            yield connection

    def again(self, work: Callable[[], _Result], max_lag: float | None = None) -> _Result:
        """Run `work`, which only reads; where it loses a standby, run it again with the next server, and at last the primary.

        `max_lag` replaces that of the handle.
        """
        token = _MAX_LAG.set(max_lag)
        try:
            for _ in range(len(self._standbys)):
                with suppress(StandbyLostError):
                    return work()
            return work()
        finally:
            _MAX_LAG.reset(token)

    @contextmanager
    def _reader(self) -> Iterator[WatchedConnection]:
        if len(self._standbys):
            with self._standbys.lease(self._freshness()) as connection:
                if connection is not None:
                    yield connection
                    return
        with self._pool.lease() as connection:
            yield connection

    def _freshness(self) -> Freshness:
        """Return the demands of a read. Asks the primary for the end of its log after changes through this handle."""
        if self._changed.is_set():
            self._changed.clear()
            with self._pool.lease() as connection:
                self._written = value(connection, _SQL["written"])
        given = _MAX_LAG.get()
        return Freshness(self._reads.max_lag if given is None else given, self._written)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Note a change, which reads of this handle must see if they were asked to."""
        try:
            yield
        finally:
            if self._reads.read_your_writes:
                self._changed.set()

    @contextmanager
    def dedicated(self, doing: str) -> Iterator[Connection]:
        """Open a connection outside the pool, in autocommit mode, for long work: the role's time limits do not apply."""
        with (
            self._changing(),
            storage_errors(self.url, doing),
            self._unlimited() as connection,
            _discard_on_interrupt(connection),
        ):
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
        with self._changing(), storage_errors(self.url, doing), self._open() as connection:
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
