"""Connections that detect a lost network, so that no call waits indefinitely."""

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
from pgretrieval.db import cancelling
from pgretrieval.db.parameters import ADAPTERS
from pgretrieval.db.urls import unreadable

_SQL = statements("server")
_SILENT_SECONDS = 10.0  # without data before the server is probed
_LONGEST_INTERVAL = 60.0  # between two probes during a long statement
_PROBE_SECONDS = 5  # for the answer to a probe
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
    """Probes a silent server over another connection after ten seconds, and closes if it does not answer or waits for the client.

    Statements have no time limit. Setting the event `closing` ends all waits, and cancelling a call those of the call.
    """

    url: str = ""
    closing: threading.Event | None = None

    def wait(self, gen: PQGen[_Result], interval: float = _TICK, timeout: float | None = None) -> _Result:
        """Wait like the driver, but probe a silent server. If interrupted, the connection is closed, since its state is unknown."""
        if timeout is not None:
            return super().wait(gen, interval, timeout)
        try:
            cancelling.check()
            return waiting.wait(self._watched(gen), self.pgconn.socket, interval=interval)
        except psycopg.Error:
            raise
        except BaseException:
            self.discard()
            raise

    @property
    def pooled(self) -> bool:
        """True if there is a pooler, so that transactions may use different sessions."""
        return self.prepare_threshold is None

    @property
    def sound(self) -> bool:
        """True if the connection is in its initial state: idle, not in a pipeline, unlocked, with default settings."""
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
        """Close the connection and cancel its running statement."""
        if not self.closed and self.info.transaction_status == TransactionStatus.ACTIVE:
            with suppress(psycopg.Error):
                self.cancel_safe(timeout=2.0)
        self.close()

    def _watched(self, gen: PQGen[_Result]) -> Generator[Any, Any, _Result]:
        """`gen`, with checks of time whenever the driver has waited without data."""
        try:
            wanted = next(gen)
            last_data, patience, waiting = monotonic(), _SILENT_SECONDS if self.url else _PROBE_SECONDS, False
            while True:
                ready = yield wanted
                if not ready:
                    cancelling.check()
                if ready:
                    last_data, patience, waiting = monotonic(), _SILENT_SECONDS, False
                elif self.closing is not None and self.closing.is_set():
                    self.discard()
                    self._fail("the database handle was closed", everywhere=True)
                elif monotonic() - last_data > patience:
                    waiting = self._probe_server(was_waiting=waiting)
                    last_data, patience = monotonic(), min(2 * patience, _LONGEST_INTERVAL) if not waiting else _SILENT_SECONDS
                wanted = gen.send(ready)
        except StopIteration as end:
            result: _Result = end.value
            return result

    def _probe_server(self, *, was_waiting: bool) -> bool:
        """Return whether the server's process waits for the client; raise if it did before, or if the server does not answer."""
        if not self.url:
            self._fail(f"the server has not answered for {_PROBE_SECONDS} seconds", everywhere=True)
        info = self.info
        target: dict[str, Any] = {
            "host": info.host,
            "hostaddr": info.hostaddr,
            "port": info.port,
            "connect_timeout": _PROBE_SECONDS,
        }
        try:
            url = make_conninfo(self.url, **{key: value for key, value in target.items() if value})
            with connect(url, probes=False) as probe:
                row = None if self.pooled else probe.execute(_SQL["waits_for_client"], {"pid": info.backend_pid}).fetchone()
        except psycopg.Error as error:
            if error.sqlstate is not None or _ANSWER_OF_A_SERVER.search(str(error)):
                return False  # it answers, although it refuses connections
            self._fail("the server answers neither this connection nor a new one", everywhere=True)
        if row is None:
            return False
        if row[0] is None:
            self._fail("the server ended the session, but its message did not arrive")
        if row[0] and was_waiting:
            self._fail("the server waits for this client, but no data arrives in either direction")
        return bool(row[0])

    def _fail(self, reason: str, *, everywhere: bool = False) -> NoReturn:
        self.close()
        error = LostError(reason)
        error.everywhere = everywhere
        raise error


def connect(url: str, closing: threading.Event | None = None, *, probes: bool = True) -> WatchedConnection:
    """A connection in autocommit mode, with default time limits unless `url` sets them; the client encoding is UTF-8.

    Without `probes`, it ends after five silent seconds. Raises ConfigError if `url` is invalid.
    """
    try:
        given = conninfo_to_dict(url)
        defaults = {key: value for key, value in _DEFAULTS.items() if key not in given}
        connection = WatchedConnection.connect(url, autocommit=True, context=ADAPTERS, **defaults, client_encoding="UTF8")
    except psycopg.ProgrammingError as error:  # raised before connecting
        raise unreadable(url, str(error).strip().partition("\n")[0]) from error
    connection.url, connection.closing = url if probes else "", closing
    try:
        _without_session_state(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _without_session_state(connection: WatchedConnection) -> None:
    """Prepare no statements behind a pooler, because the next transaction may run in another session.

    A pooler is detected by the server's process id: it tells clients another one. Without a pooler, prepared statements are
    planned for their values each time.
    """
    row = connection.execute(_SQL["server_process"]).fetchone()
    if row is None or row[0] != connection.info.backend_pid:
        connection.prepare_threshold = None
    else:
        connection.execute(_SQL["plan_by_values"])
