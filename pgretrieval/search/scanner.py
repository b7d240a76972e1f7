"""Protocol of scanners, which retrieve and score candidates for one kind of index."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from pgretrieval.db.connection import Connection
from pgretrieval.search.explain import Explanation
from pgretrieval.types import Float32Array


@dataclass(frozen=True, slots=True)
class Ranking:
    """Passages of one query with their scores, best first."""

    passage_ids: list[int]
    scores: list[float]


class PendingScan(Protocol):
    """Pending scan of one query. The pipeline calls `narrow`, then `rank`; `report` collects work and time."""

    report: Explanation

    def narrow(self) -> None:
        """Read the candidates, and request the data to score the best."""

    def rank(self) -> Ranking:
        """Score the passages and return the k best."""

    def count_postings(self) -> None:
        """Set the number of postings read, which may cost a statement."""


class Scanner(Protocol):
    """Scanner of one index for one request."""

    vector_index_depth: int
    """Rows that a scan of a vector index must return."""

    def send(self, connection: Connection, query: Float32Array) -> PendingScan:
        """Request the candidates of (query tokens, dim) without waiting."""
