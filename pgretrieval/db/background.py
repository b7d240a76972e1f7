"""Background work in threads."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from pgretrieval.errors import PgRetrievalError

_LOG = logging.getLogger("pgretrieval")
_PATIENCE = 60.0
_STEP = 1.0  # seconds to wait for a step after a stop


class Background:
    """Threads of one database; at most one for each kind of work."""

    def __init__(self) -> None:
        self._stopping = threading.Event()
        self._running: dict[str, threading.Thread] = {}
        self._lock = threading.Lock()

    def start(self, doing: str, work: Callable[[threading.Event], None]) -> None:
        """Start `work` unless it is running; it receives an event that asks it to stop. Its exceptions are logged."""
        with self._lock:
            if self._stopping.is_set() or doing in self._running:
                return
            thread = threading.Thread(target=self._run, args=(doing, work), name="pgretrieval-background", daemon=True)
            self._running[doing] = thread
            thread.start()

    def wait(self, seconds: float = _PATIENCE) -> None:
        """Wait until all started work has finished, or for the given seconds."""
        until = time.monotonic() + seconds
        for thread in list(self._running.values()):
            thread.join(max(0.0, until - time.monotonic()))

    def stop(self) -> None:
        """Ask running work to stop after its step, and wait for short steps."""
        self._stopping.set()
        self.wait(_STEP)

    def _run(self, doing: str, work: Callable[[threading.Event], None]) -> None:
        try:
            work(self._stopping)
        except PgRetrievalError as error:
            if not self._stopping.is_set():
                _LOG.warning("%s failed: %s", doing, error)
        finally:
            with self._lock:
                self._running.pop(doing, None)
