"""Protocol of scanners, which retrieve and score candidates for one kind of index, and the base of their scans."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from pgretrieval.db.candidates import CodedPassages, PendingCodes, PendingVectors, StoredPassages
from pgretrieval.db.connection import Connection
from pgretrieval.search import maxsim
from pgretrieval.search.explain import Explanation
from pgretrieval.search.fusion import HybridScores
from pgretrieval.search.loaded import LoadedIndex
from pgretrieval.search.options import ScanRequest
from pgretrieval.types import Float32Array, Int32Array, Restriction


@dataclass(frozen=True, slots=True)
class Ranking:
    """Passages of one query with their scores, best first."""

    passage_ids: list[int]
    scores: list[float]


class BaseScan:
    """State and steps that the scans of all scanners share."""

    def __init__(self, connection: Connection, index: LoadedIndex, request: ScanRequest, query: Float32Array) -> None:
        self.report = Explanation()
        self._tables = index.tables(connection)
        self._index = index
        self._request = request
        self._query = query
        self._restriction = request.restriction or (Restriction() if index.restricted else None)
        self._hybrid: HybridScores | None = None

    def _request_hybrid(self, candidates: int) -> None:
        """Request the scores of words and dense vectors if this is a hybrid search."""
        if self._request.hybrid:
            self._hybrid = HybridScores(self._tables, self._request.hybrid, self._request.k, candidates, self._restriction)

    def _request_passages(self, passage_ids: Int32Array) -> PendingCodes | PendingVectors:
        """Request the data for exact scores of passages."""
        self.report.round_trips += 1
        index = self._index
        return maxsim.request_passages(self._tables, passage_ids, index.codebook, keeps_vectors=index.keeps_vectors)

    def _read_requested(self, requested: PendingCodes | PendingVectors) -> CodedPassages | StoredPassages:
        """Read the requested codes or vectors."""
        with self.report.stage("codes"):
            found = requested.read()
        self.report.bytes_moved += found.bytes_moved
        return found

    def _exact_scores(self, found: CodedPassages | StoredPassages) -> Float32Array:
        """Return the exact MaxSim of the passages (passages,)."""
        with self.report.stage("maxsim"):
            scores = maxsim.exact_scores(self._query, self._index.codebook, found)
        self.report.tokens_decoded += found.token_count
        self.report.passages_decoded = len(found.passage_ids)
        return scores

    def _ranking(self, passage_ids: Int32Array, scores: Float32Array) -> Ranking:
        """Return the k best passages, in a hybrid search by the fused scores."""
        if self._hybrid:
            scores = self._hybrid.fuse(passage_ids, scores)
        best = maxsim.best_first(scores, passage_ids, self._request.k)
        return Ranking(passage_ids[best].tolist(), scores[best].tolist())


class PendingScan(Protocol):
    """Pending scan of one query. The pipeline calls `generate`, `narrow` and `rank`; `report` collects work and time."""

    report: Explanation

    def generate(self) -> None:
        """Choose candidates, and request what narrows them, if that takes a round trip of its own."""

    def narrow(self) -> None:
        """Read the candidates, and request the data to score the best."""

    def rank(self) -> Ranking:
        """Score the passages and return the k best."""


class Scanner(Protocol):
    """Scanner of one index for one request."""

    vector_index_depth: int
    """Rows that a scan of a vector index must return."""

    def send(self, connection: Connection, query: Float32Array) -> PendingScan:
        """Request the candidates of (query tokens, dim) without waiting."""
