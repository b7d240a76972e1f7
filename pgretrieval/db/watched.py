"""A connection that notices when its network has gone: no call waits for ever for a byte that does not come."""

from __future__ import annotations

import re
import threading
from collections.abc import Generator
from contextlib import suppress
from time import monotonic
from typing import Any, NoReturn, TypeVar

import psycopg
from psycopg import waiting
from psycopg.abc import PQGen
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import PipelineStatus, TransactionStatus
from psycopg.rows import TupleRow

from pgretrieval.assets import statements
from pgretrieval.db.parameters import ADAPTERS
from pgretrieval.db.urls import unreadable

_SQL = statements("server")
_SILENT_SECONDS = 10.0  # without a byte, after which the server is asked whether it is still at it
_SELDOM = 60.0  # between two such questions of a long statement
_ASKED_SECONDS = 5  # for the question
_TICK = 0.1
_DEFAULTS: dict[str, Any] = {
    "connect_timeout": 10,
    "application_name": "pgretrieval",
    "keepalives_idle": 60,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
_ANSWER_OF_A_SERVER = re.compile(r": [^\s:]+:  ")  # "FATAL:  ", in whatever language

_Result = TypeVar("_Result")


class LostError(psycopg.OperationalError):
    """The server stopped answering, and the connection is closed. With `everywhere`, new connections would not answer either."""

    everywhere = False


class WatchedConnection(psycopg.Connection[TupleRow]):
    """Asks over another connection after ten silent seconds, and gives up where nobody answers there or nobody works for it.

    Statements may take as long as they do. `leaving` is an event that ends what waits at once.
    """

    url: str = ""
    leaving: threading.Event | None = None

    def wait(self, gen: PQGen[_Result], interval: float = _TICK, timeout: float | None = None) -> _Result:
        """Wait like the driver, but probe a silent server. If interrupted, the connection is closed, since its state is unknown."""
        if timeout is not None:
            return super().wait(gen, interval, timeout)
        try:
            return waiting.wait(self._listening(gen), self.pgconn.socket, interval=interval)
        except psycopg.Error:
            raise
        except BaseException:
            self.discard()
            raise

    @property
    def pooled(self) -> bool:
        """True if a pooler is between, so that transactions may use different sessions."""
        return self.prepare_threshold is None

    @property
    def sound(self) -> bool:
        """True if the connection is as good as new: idle, not in a pipeline, unlocked, with default settings."""
        return (
            not self.closed
            and self.info.transaction_status == TransactionStatus.IDLE
            and self.info.pipeline_status == PipelineStatus.OFF
            and self._pipeline is None
            and not self.lock.locked()
            and self.autocommit
            and self.isolation_level is None
            and self.read_only is None
        )

    def discard(self) -> None:
        """Close it, and tell the server to stop what it still does for it."""
        if not self.closed and self.info.transaction_status == TransactionStatus.ACTIVE:
            with suppress(psycopg.Error):
                self.cancel_safe(timeout=2.0)
        self.close()

    def _listening(self, gen: PQGen[_Result]) -> Generator[Any, Any, _Result]:
        """`gen`, with a look at the clock whenever the driver has waited in vain."""
        try:
            wanted = next(gen)
            heard, patience, waiting = monotonic(), _SILENT_SECONDS if self.url else _ASKED_SECONDS, False
            while True:
                ready = yield wanted
                if ready:
                    heard, patience, waiting = monotonic(), _SILENT_SECONDS, False
                elif self.leaving is not None and self.leaving.is_set():
                    self.discard()
                    self._lose("the database handle was closed meanwhile", everywhere=True)
                elif monotonic() - heard > patience:
                    waiting = self._ask(was_waiting=waiting)
                    heard, patience = monotonic(), min(2 * patience, _SELDOM) if not waiting else _SILENT_SECONDS
                wanted = gen.send(ready)
        except StopIteration as end:
            result: _Result = end.value
            return result

    def _ask(self, *, was_waiting: bool) -> bool:
        """Return whether the server's process waits for the client; raise if it did before, or if the server does not answer."""
        if not self.url:
            self._lose(f"the server has not answered for {_ASKED_SECONDS} seconds", everywhere=True)
        info = self.info
        there: dict[str, Any] = {"host": info.host, "hostaddr": info.hostaddr, "port": info.port, "connect_timeout": _ASKED_SECONDS}
        try:
            url = make_conninfo(self.url, **{key: value for key, value in there.items() if value})
            with connect(url, asks=False) as asking:
                row = None if self.pooled else asking.execute(_SQL["waits_for_client"], {"pid": info.backend_pid}).fetchone()
        except psycopg.Error as error:
            if error.sqlstate is not None or _ANSWER_OF_A_SERVER.search(str(error)):
                return False  # it is there, though it takes nobody in
            self._lose("the server has not answered for some time, nor does it answer another connection", everywhere=True)
        if row is None:
            return False
        if row[0] is None:
            self._lose("the server has ended the session, and its word has not come")
        if row[0] and was_waiting:
            self._lose("the server waits for this client, and what either sends does not come")
        return bool(row[0])

    def _lose(self, reason: str, *, everywhere: bool = False) -> NoReturn:
        self.close()
        error = LostError(reason)
        error.everywhere = everywhere
        raise error


def connect(url: str, leaving: threading.Event | None = None, *, asks: bool = True) -> WatchedConnection:
    """A connection in autocommit mode. What `url` does not say of time limits has a default; text is UTF-8 whatever else is set.

    Without `asks`, five silent seconds end it. Raises ConfigError where `url` cannot be read.
    """
    try:
        given = conninfo_to_dict(url)
        defaults = {key: value for key, value in _DEFAULTS.items() if key not in given}
        connection = WatchedConnection.connect(url, autocommit=True, context=ADAPTERS, **defaults, client_encoding="UTF8")
    except psycopg.ProgrammingError as error:  # comes before anything is sent
        raise unreadable(url, str(error).strip().partition("\n")[0]) from error
    connection.url, connection.leaving = url if asks else "", leaving
    try:
        _without_session_state(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _without_session_state(connection: WatchedConnection) -> None:
    """Prepare no statements behind a pooler: the next transaction may be in another session, which has none of them.

    A pooler shows in the number of the server's process, in place of which it tells clients one of its own. Without one, prepared
    statements are planned for their values each time.
    """
    row = connection.execute(_SQL["server_process"]).fetchone()
    if row is None or row[0] != connection.info.backend_pid:
        connection.prepare_threshold = None
    else:
        connection.execute(_SQL["plan_by_values"])
