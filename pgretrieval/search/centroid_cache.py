"""Centroid ids of passages in memory. A passage's codes never change under one codebook, so a process reads them once.

A changed passage has a new id, and which passages a search sees follows from the postings in its snapshot, never from the cache.
"""

from __future__ import annotations

import threading

import numpy as np

from pgretrieval.db.candidates import CodedPassages
from pgretrieval.numerics.centroid_scores import PassageCentroids, is_wide
from pgretrieval.types import Int32Array, Int64Array

_BYTES = 64 * 2**20  # 32 million tokens of at most 65,536 centroids
_ABSENT = 0


class CentroidCache:
    """Centroid ids of the passages that searches of one index read last. Threads may share it.

    Of two generations the younger is filled. When it holds half of the memory, it becomes the older, and that one is forgotten.
    """

    def __init__(self, centroids: int, at_most: int = _BYTES) -> None:
        self._centroids = centroids
        self._at_most = at_most
        self._lock = threading.Lock()
        self._young: list[PassageCentroids] = []
        self._old: list[PassageCentroids] = []
        self._young_bytes = 0
        self._addresses: Int64Array = np.zeros(0, dtype=np.int64)  # by passage id
        self._lengths: Int64Array = np.zeros(0, dtype=np.int64)

    def find(self, passage_ids: Int32Array) -> tuple[PassageCentroids, Int32Array]:
        """Return those of the passages that are here with their centroids, and those that are not."""
        with self._lock:
            self._make_room(passage_ids)
            addresses, lengths = self._addresses[passage_ids], self._lengths[passage_ids]
            here = addresses != _ABSENT
            asked = PassageCentroids(passage_ids, addresses, lengths, is_wide(self._centroids), (self._young, self._old))
        return asked.some(here), passage_ids[~here]

    def add(self, coded: CodedPassages) -> PassageCentroids:
        """Keep and return the centroids of passages. Raises StorageError for ids that the codebook does not have."""
        added = PassageCentroids.of(coded.passage_ids, coded.offsets, coded.centroid_ids, self._centroids)
        with self._lock:
            if self._young_bytes >= self._at_most // 2:
                self._forget_old()
            self._make_room(added.passage_ids)
            self._addresses[added.passage_ids] = added.addresses
            self._lengths[added.passage_ids] = added.lengths
            self._young.append(added)
            self._young_bytes += added.bytes
        return added

    def _make_room(self, passage_ids: Int32Array) -> None:
        most = int(passage_ids.max(initial=0))
        if most >= len(self._addresses):
            missing = most + most // 8 + 1 - len(self._addresses)
            self._addresses = np.pad(self._addresses, (0, missing))
            self._lengths = np.pad(self._lengths, (0, missing))

    def _forget_old(self) -> None:
        for added in self._old:
            unchanged = self._addresses[added.passage_ids] == added.addresses  # unless another search has added them again
            self._addresses[added.passage_ids[unchanged]] = _ABSENT
        self._old, self._young, self._young_bytes = self._young, [], 0
