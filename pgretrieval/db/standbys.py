"""Hot standbys that searches read from, in turn; the primary takes over for those that are lost or too far behind."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import psycopg

from pgretrieval.assets import statements
from pgretrieval.db.errors import describe_server
from pgretrieval.db.pool import Lease, Pool
from pgretrieval.errors import DatabaseUnavailableError

if TYPE_CHECKING:
    from pgretrieval.db.watched import WatchedConnection

_SQL = statements("standbys")
_LOG = logging.getLogger("pgretrieval")
_LEFT_ALONE_SECONDS = 5.0
"""Time for which a lost standby is not asked again."""
_WAITED_SECONDS = 1.0
"""Longest wait for a standby to replay one's own changes, before the primary is read."""
_BETWEEN_LOOKS = 0.01
_CONFLICTS = ("40001", "40P01")
"""A standby cancels a statement that needs rows which the primary has removed."""


class StandbyLostError(DatabaseUnavailableError):
    """A standby was lost, or cancelled the statement, while it was read. The same call succeeds with another server."""


@dataclass(frozen=True, slots=True)
class Freshness:
    """Demands of a read: most seconds behind the primary, and a position of the write-ahead log that it must contain."""

    max_lag: float | None = None
    written: str | None = None


@dataclass(slots=True)
class _Standby:
    url: str
    pool: Pool
    asked_again: float = 0.0
    """Time of the monotonic clock before which it is left alone."""


@dataclass(slots=True)
class Standbys:
    """The standbys of a handle. Threads may share it."""

    urls: Sequence[str]
    open: Callable[[str], WatchedConnection]
    size: int
    _servers: list[_Standby] = field(init=False)
    _turns: Iterator[int] = field(init=False)
    _lock: threading.Lock = field(init=False, default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._servers = [_Standby(url, Pool(partial(self.open, url), self.size)) for url in self.urls]
        self._turns = itertools.count()

    def __len__(self) -> int:
        return len(self._servers)

    def close(self) -> None:
        """Close the connections that are not in use; the others are closed when returned."""
        for server in self._servers:
            server.pool.close()

    @contextmanager
    def lease(self, freshness: Freshness) -> Iterator[WatchedConnection | None]:
        """Lend a connection to the next standby that answers and is as fresh as wanted, or None if there is none.

        Raises StandbyLostError if the block loses it, or the standby cancels a statement of the block.
        """
        found = self._find(freshness)
        if found is None:
            yield None
            return
        server, lease, connection = found
        try:
            yield connection
        except psycopg.Error as error:
            if self._is_passed_over(server, connection, error):
                msg = f"the standby at {describe_server(server.url)} was lost or cancelled a statement; repeat the call"
                raise StandbyLostError(msg) from error
            raise
        finally:
            lease.__exit__(None, None, None)

    def _find(self, freshness: Freshness) -> tuple[_Standby, Lease, WatchedConnection] | None:
        until = time.monotonic() + (_WAITED_SECONDS if freshness.written is not None else 0.0)
        while True:
            for server in self._in_turn():
                lease = server.pool.lease()
                try:
                    connection = lease.__enter__()
                except psycopg.OperationalError as error:
                    self._leave_alone(server, error)
                    continue
                try:
                    if _is_fresh(connection, freshness):
                        return server, lease, connection
                except psycopg.Error as error:
                    if not self._is_passed_over(server, connection, error):
                        lease.__exit__(None, None, None)
                        raise
                lease.__exit__(None, None, None)
            if time.monotonic() >= until:
                return None
            time.sleep(_BETWEEN_LOOKS)

    def _is_passed_over(self, server: _Standby, connection: WatchedConnection, error: psycopg.Error) -> bool:
        """Return whether another server may do what this one refused; a lost one is left alone."""
        lost = connection.closed or connection.broken
        if lost:
            self._leave_alone(server, error)
        return lost or error.sqlstate in _CONFLICTS

    def _in_turn(self) -> list[_Standby]:
        """Return the standbys to try, another one first each time."""
        with self._lock:
            first = next(self._turns) % len(self._servers)
        now = time.monotonic()
        return [server for server in self._servers[first:] + self._servers[:first] if server.asked_again <= now]

    def _leave_alone(self, server: _Standby, error: psycopg.Error) -> None:
        server.asked_again = time.monotonic() + _LEFT_ALONE_SECONDS
        _LOG.warning(
            "the standby at %s is left alone for %.0f seconds: %s", describe_server(server.url), _LEFT_ALONE_SECONDS, error
        )


def _is_fresh(connection: WatchedConnection, freshness: Freshness) -> bool:
    if freshness == Freshness():
        return True
    wanted: dict[str, Any] = {"max_lag": freshness.max_lag, "written": freshness.written}
    row = connection.execute(_SQL["is_fresh"], wanted).fetchone()
    return row is not None and bool(row[0])
