"""Work that goes on beside the caller's."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from pgretrieval.errors import PgRetrievalError

_LOG = logging.getLogger("pgretrieval")
_PATIENCE = 60


class Background:
    """Threads of one database; at most one for each piece of work. Those that run when it is closed finish their step."""

    def __init__(self) -> None:
        self._stopping = threading.Event()
        self._running: dict[str, threading.Thread] = {}
        self._lock = threading.Lock()

    def start(self, doing: str, work: Callable[[threading.Event], None]) -> None:
        """Do `work` unless it is being done; it is given an event that tells it to stop. What it raises is logged."""
        with self._lock:
            if self._stopping.is_set() or doing in self._running:
                return
            thread = threading.Thread(target=self._run, args=(doing, work), name="pgretrieval-background", daemon=True)
            self._running[doing] = thread
            thread.start()

    def wait(self) -> None:
        """Until all that was started is done."""
        for thread in list(self._running.values()):
            thread.join(_PATIENCE)

    def close(self) -> None:
        """Tell what runs to stop after its step, and wait for that."""
        self._stopping.set()
        self.wait()

    def _run(self, doing: str, work: Callable[[threading.Event], None]) -> None:
        try:
            work(self._stopping)
        except PgRetrievalError as error:
            _LOG.warning("%s failed: %s", doing, error)
        finally:
            with self._lock:
                self._running.pop(doing, None)
