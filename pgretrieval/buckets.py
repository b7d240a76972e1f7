"""Buckets, by which a distributed Postgres spreads a collection: all rows of a passage are in the bucket of its id."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np

from pgretrieval.types import Int16Array, Int32Array

MAX_BUCKETS = 1024
_BYTES = 3  # of the digest


@dataclass(frozen=True, slots=True, eq=False)
class PassageIds:
    """Passages by `passage_id`, each with its bucket: both (passages,)."""

    ids: Int32Array
    buckets: Int16Array

    @classmethod
    def of(cls, rows: Sequence[Sequence[Any]]) -> PassageIds:
        """Return the passages of rows that begin with passage_id and bucket."""
        return cls(np.array([row[0] for row in rows], dtype=np.int32), np.array([row[1] for row in rows], dtype=np.int16))

    def __len__(self) -> int:
        return len(self.ids)


def buckets_of(ids: Sequence[str], buckets: int) -> Int16Array:
    """Return the buckets of passages by their own ids, as `pgretrieval.bucket_of` does; each is 0 if there is one bucket."""
    if buckets == 1:
        return np.zeros(len(ids), dtype=np.int16)
    digests = b"".join([sha256(each.encode()).digest()[:_BYTES] for each in ids])
    high, middle, low = np.frombuffer(digests, dtype=np.uint8).astype(np.int32).reshape(-1, _BYTES).T
    placed: Int16Array = (((high << 16) + (middle << 8) + low) % buckets).astype(np.int16)
    return placed
