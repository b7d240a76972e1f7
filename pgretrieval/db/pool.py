"""Connections shared by threads. Only connections in their initial state are reused; lost ones are replaced."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from types import TracebackType

import psycopg

from pgretrieval.db import cancelling
from pgretrieval.db.watched import LostError, WatchedConnection
from pgretrieval.errors import PgRetrievalError, TimedOutError

_WAITED_SECONDS = 30.0  # for a free connection
_LOOK_AGAIN = 0.05
_KEPT_SECONDS = 600.0

EXPECTED = (psycopg.Error, PgRetrievalError)
"""Errors after which the state of a connection is known; after any other, such as Ctrl-C, it is closed."""


class Pool:
    """Pool of at most `size` connections from `make`, opened on demand.

    Uses plain locks, whose `with` no signal can interrupt, and counts lent connections by live references: an exception at any
    moment loses neither a lock nor a place.
    """

    def __init__(self, make: Callable[[], WatchedConnection], size: int) -> None:
        self._make = make
        self._size = size
        self._lock = threading.Lock()
        self._idle: list[tuple[WatchedConnection, float]] = []
        self._lent: weakref.WeakSet[Lease] = weakref.WeakSet()
        self._returned: SimpleQueue[None] = SimpleQueue()
        self._closed = False

    def lease(self) -> Lease:
        """Return a lease for a `with` block."""
        return Lease(self)

    @property
    def lent(self) -> int:
        """Number of connections in use."""
        return len(self._lent)

    def close(self) -> None:
        """Close idle connections; the others are closed when returned."""
        self._closed = True
        with self._lock:
            idle, self._idle = self._idle, []
        for connection, _ in idle:
            connection.close()

    def take(self, lease: Lease) -> WatchedConnection:
        """Raises TimedOutError if all stay in use, psycopg.Error if none can be opened."""
        deadline = time.monotonic() + _WAITED_SECONDS
        while not self._reserved(lease):
            cancelling.check()
            if time.monotonic() > deadline:
                msg = (
                    f"all {self._size} connections of this handle were in use by other threads for {_WAITED_SECONDS:.0f} seconds; "
                    "use fewer threads at once, or open another handle for some of them with connect()"
                )
                raise TimedOutError(msg)
            with suppress(Empty):
                self._returned.get(timeout=_LOOK_AGAIN)
        while lease.connection is not None:
            if _answers(lease.connection):
                return lease.connection
            lease.connection.close()
            lease.connection = None
            self._reuse(lease)
        lease.connection = self._make()
        return lease.connection

    def _reserved(self, lease: Lease) -> bool:
        """Reserve a place, with an idle connection if there is one; return whether there was a place."""
        with self._lock:
            if self._closed:
                msg = "the database handle is closed; connect again"
                raise LostError(msg)
            if len(self._lent) >= self._size:
                return False
            self._lent.add(lease)
            if self._idle:
                lease.connection, _ = self._idle.pop()
            return True

    def _reuse(self, lease: Lease) -> None:
        with self._lock:
            if self._idle:
                lease.connection, _ = self._idle.pop()

    def give(self, lease: Lease, *, sound: bool) -> None:
        """Take a connection back."""
        connection, lease.connection = lease.connection, None
        stale: list[tuple[WatchedConnection, float]] = []
        now = time.monotonic()
        if connection is not None and sound and connection.sound and not self._closed:
            with self._lock:
                self._idle.append((connection, now))
                while self._idle[0][1] < now - _KEPT_SECONDS:
                    stale.append(self._idle.pop(0))
        elif connection is not None:
            connection.discard()
        self._lent.discard(lease)
        if self._returned.empty():
            self._returned.put(None)
        for unused, _ in stale:
            unused.close()


class Lease:
    """Lease of a pool's connection for a `with` block."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.connection: WatchedConnection | None = None

    def __enter__(self) -> WatchedConnection:
        try:
            return self._pool.take(self)
        except BaseException:
            self._pool.give(self, sound=False)
            raise

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._pool.give(self, sound=error is None or isinstance(error, EXPECTED))


def _answers(connection: WatchedConnection) -> bool:
    """Return whether an idle connection still reaches the server.

    Raises LostError where the network is gone, so that a new one would not help.
    """
    try:
        connection.execute("")
    except psycopg.Error as error:
        if isinstance(error, LostError) and error.everywhere:
            raise
        return False
    return True
