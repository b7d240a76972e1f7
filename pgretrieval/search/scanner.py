"""The protocol of scanners: how the pipeline finds and scores candidates, whatever the kind of index."""

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
    """One query on its way. The pipeline calls `narrow`, then `rank`; `report` fills with what each stage did."""

    report: Explanation

    def narrow(self) -> None:
        """Read the candidates, and ask for what the scores of the best of them need."""

    def rank(self) -> Ranking:
        """Score what was asked for, and return the k best."""

    def count_postings(self) -> None:
        """Fill in how many postings were read, which may cost a statement."""


class Scanner(Protocol):
    """Searches one index as one request says."""

    vector_index_depth: int
    """Rows that a scan of a vector index must be able to give."""

    def send(self, connection: Connection, query: Float32Array) -> PendingScan:
        """Ask for the candidates of (query tokens, dim); nothing is waited for."""
