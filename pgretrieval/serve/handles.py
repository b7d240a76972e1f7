"""Open collections, by name: each keeps its index in memory, and follows the database."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

from pgretrieval.collection import Collection
from pgretrieval.database import RetrievalDatabase
from pgretrieval.errors import CollectionNotFoundError

KEPT = 256
"""Number of open collections."""

_Result = TypeVar("_Result")


class Handles:
    """Open collections, of which the last used are kept. Threads may share them."""

    def __init__(self, database: RetrievalDatabase) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, Collection] = OrderedDict()

    def use(self, name: str, work: Callable[[Collection], _Result]) -> _Result:
        """Return `work` on a collection; on the one that is there now, if the kept one was dropped.

        Raises CollectionNotFoundError.
        """
        with self._lock:
            kept = self._kept.get(name)
            if kept is not None:
                self._kept.move_to_end(name)
        if kept is not None:
            try:
                return work(kept)
            except CollectionNotFoundError:
                self._forget(name, kept)
        opened = self._database.get_collection(name)
        self._keep(name, opened)
        return work(opened)

    def _keep(self, name: str, opened: Collection) -> None:
        with self._lock:
            self._kept[name] = opened
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)

    def _forget(self, name: str, kept: Collection) -> None:
        with self._lock:
            if self._kept.get(name) is kept:
                del self._kept[name]
