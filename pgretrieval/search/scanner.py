"""Protocol of scanners, which retrieve and score candidates for one kind of index, and the base of their scans."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from pgretrieval import validate
from pgretrieval.db import candidates as read
from pgretrieval.db.candidates import CodedPassages, PendingCodes, PendingVectors, StoredPassages
from pgretrieval.db.connection import Connection
from pgretrieval.search.explain import Explanation
from pgretrieval.search.fusion import HybridScores
from pgretrieval.search.loaded import LoadedIndex
from pgretrieval.search.matches import (
    BestTokens,
    HitMatches,
    best_by_codes,
    best_by_vectors,
    coded_similarity,
    shared,
    stored_similarity,
)
from pgretrieval.search.maxsim import best_first, decoded_maxsim, stored_maxsim
from pgretrieval.search.options import ScanRequest
from pgretrieval.search.watched import Watched
from pgretrieval.types import Float32Array, Int32Array, Restriction

_VECTORS_BEYOND = 10
_VECTORS_BEYOND_PER_HIT = 0.3


@dataclass(frozen=True, slots=True)
class Ranking:
    """Passages of one query with their scores, best first, and the tokens that matched if they were asked for."""

    passage_ids: list[int]
    scores: list[float]
    matches: HitMatches | None = None


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
        self._codes: PendingCodes | None = None
        self._vectors: PendingVectors | None = None
        self._scored: tuple[Int32Array, Float32Array]
        self._scored_by: CodedPassages | StoredPassages
        self._divisor = np.float32(request.options.divisor(query))  # of all scores

    def score(self) -> None:
        """Score the passages whose codes were requested, and request the vectors of the best if the collection keeps them."""
        if self._codes is None:
            return
        with self.report.stage("codes"):
            found = self._codes.read()
        self.report.bytes_moved += found.bytes_moved
        self._score_coded(found)

    def _score_coded(self, found: CodedPassages) -> None:
        with self.report.stage("maxsim"):
            passage_ids, scores = self._scored = found.passage_ids, decoded_maxsim(self._query, self._index.codebook, found)
        self._scored_by = found
        self.report.tokens_decoded += found.token_count
        self.report.passages_decoded = len(passage_ids)
        if self._index.keeps_vectors:
            with self.report.stage("vectors"):
                count = vectors_to_read(self._request.k, self._index.codebook.codec.bits)
                best = best_first(self._fused(passage_ids, scores), passage_ids, count)
                self._vectors = read.vectors_of(self._tables, passage_ids[best])
            if watched := self._request.watched:
                watched.after(
                    passage_ids[best],
                    f"By its codes it is not among the {len(best):,} passages that are compared by their kept vectors. Raise k to "
                    "compare more.",
                )
            self.report.round_trips += 1

    def rank(self) -> Ranking:
        """Return the k best passages, among those whose vectors were requested if any were, by these vectors."""
        passage_ids, scores = self._scored
        ranked = np.arange(len(passage_ids))
        if self._vectors:
            with self.report.stage("vectors"):
                vectors = self._vectors.read()
            with self.report.stage("maxsim"):
                order = np.argsort(passage_ids)
                ranked = order[np.searchsorted(passage_ids, vectors.passage_ids, sorter=order)]
                scores[ranked] = stored_maxsim(self._query, vectors.tokens)
            self._scored_by = vectors
            self.report.bytes_moved += vectors.bytes_moved
        with self.report.stage("maxsim"):
            late = scores / self._divisor
            scores = self._fused(passage_ids, late)
            best = ranked[best_first(scores[ranked], passage_ids[ranked], self._request.k)]
        if self._request.watched:
            self._look_at(self._request.watched)
        ids, found = passage_ids[best], None
        if self._request.matches and len(best):
            with self.report.stage("matches"):
                fused = self._hybrid.parts(passage_ids, late, best) if self._hybrid else None
                found = shared(self._best_tokens(ids), scores[best], float(self._divisor), fused)
        return Ranking(ids.tolist(), scores[best].tolist(), found)

    def _look_at(self, watched: Watched) -> None:
        """Compare the watched passage, whichever stage it reached."""
        if self._index.keeps_vectors:
            tokens = read.vectors_of(self._tables, watched.ids).read().tokens
            similarity = stored_similarity(self._query, tokens) if len(tokens) else None
        else:
            coded = read.codes_of(self._tables, watched.ids, len(self._index.codebook.centroids)).read()
            similarity = coded_similarity(self._query, self._index.codebook, coded) if len(coded.passage_ids) else None
        if similarity is not None:
            watched.compared(similarity, float(self._divisor))

    def _best_tokens(self, passage_ids: Int32Array) -> BestTokens:
        """Return the best tokens of hits, by the codes or vectors that scored them."""
        if isinstance(self._scored_by, StoredPassages):
            return best_by_vectors(self._query, self._scored_by, passage_ids)
        return best_by_codes(self._query, self._index.codebook, self._scored_by, passage_ids)

    def _request_hybrid(self, candidates: int) -> None:
        """Request the scores of words and dense vectors if this is a hybrid search."""
        if self._request.hybrid:
            self._hybrid = HybridScores(self._tables, self._request.hybrid, self._request.k, candidates, self._restriction)

    def _request_codes(self, passage_ids: Int32Array) -> None:
        self.report.round_trips += 1
        self._codes = read.codes_of(self._tables, passage_ids, len(self._index.codebook.centroids))

    def _fused(self, passage_ids: Int32Array, scores: Float32Array) -> Float32Array:
        """Return the scores (passages,), or in a hybrid search the fused ones."""
        return self._hybrid.fuse(passage_ids, scores) if self._hybrid else scores


def vectors_to_read(k: int, bits: int) -> int:
    """Return how many passages, the best by codes of so many bits, are compared by kept vectors (docs/design/stages.md)."""
    beyond = max(_VECTORS_BEYOND, math.ceil(_VECTORS_BEYOND_PER_HIT * k)) * (4 // bits) ** 2
    return min(k + beyond, validate.INT4)


class PendingScan(Protocol):
    """Pending scan of one query. The pipeline calls `generate`, `narrow`, `score` and `rank`; `report` collects work and time."""

    report: Explanation

    def generate(self) -> None:
        """Choose candidates, and request what narrows them, if that takes a round trip of its own."""

    def narrow(self) -> None:
        """Read the candidates, and request the data to score the best."""

    def score(self) -> None:
        """Score the passages, and request what ranks the best more exactly."""

    def rank(self) -> Ranking:
        """Return the k best passages."""


class Scanner(Protocol):
    """Scanner of one index for one request."""

    vector_index_depth: int
    """Rows that a scan of a vector index must return."""

    def send(self, connection: Connection, query: Float32Array, text: str | None) -> PendingScan:
        """Request the candidates of (query tokens, dim), and of its text for generator "text", without waiting."""
