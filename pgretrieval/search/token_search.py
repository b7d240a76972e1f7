"""One query of a collection scored by retrieved tokens: ask for the tokens of probed centroids, read them, score passages."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from torch import Tensor

from pgretrieval.db import candidates as read
from pgretrieval.db.candidates import ListedTokens, Pending, PendingTokens
from pgretrieval.db.connection import Connection
from pgretrieval.quantize.codebook import Codebook
from pgretrieval.search.explain import Explanation
from pgretrieval.search.fusion import Beside
from pgretrieval.search.probe import best_centroids, centroid_scores
from pgretrieval.search.rank import best_first, token_similarity
from pgretrieval.search.token_settings import TokenSettings
from pgretrieval.search.tokens import TokenScores, missed_scores, retrieved_tokens, score_passages, walked_centroids
from pgretrieval.types import CodebookId, CollectionId, Float32Array, Int32Array, Restriction

_ALL_TOKENS = 2**31 - 1


class TokenIndex(NamedTuple):
    """What a collection's tokens are read and decoded by; `quick_centroids` is (centroids, dim) for scores that only choose."""

    connection: Connection
    collection_id: CollectionId
    codebook_id: CodebookId
    codebook: Codebook
    quick_centroids: Tensor


class ScoredPassages(NamedTuple):
    """Passages with their final scores."""

    passage_ids: Int32Array
    scores: Float32Array


@dataclass(slots=True)
class TokenSearch:
    """A query on its way: its tokens are asked for when this is made. `beside` is what a hybrid search asks for, too."""

    index: TokenIndex
    settings: TokenSettings
    query: Float32Array
    restriction: Restriction | None
    beside: Beside | None
    explained: Explanation
    _scores: Tensor = field(init=False)
    _probed: Int32Array = field(init=False)
    _pending: PendingTokens = field(init=False)
    _sizes: Pending | None = field(init=False, default=None)
    _walked: Float32Array | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        where = self.index
        with self.explained.stage("probe"):
            self._scores = centroid_scores(self.query, where.quick_centroids)
        self._ask()
        if self.settings.imputation == "warp":
            self._sizes = read.centroid_sizes(where.connection, where.collection_id, where.codebook_id, where.codebook.codec.width)

    def score(self, k: int) -> TokenScores:
        """The passages of retrieved tokens.

        Where fewer than k come though more match, twice as many centroids are probed and twice as many tokens retrieved, in the end
        all.
        """
        matches: int | None = None
        while True:
            found = self._score_retrieved()
            if len(found.passage_ids) >= k or self._has_all():
                return found
            if matches is None:
                where = self.index
                self.explained.round_trips += 1
                matches = read.count_matches(where.connection, where.collection_id, k, self.restriction or Restriction())
            if len(found.passage_ids) >= matches:
                return found
            self._widen()

    def best(self, found: TokenScores) -> Int32Array:
        """Ids of those that are scored again, or fused."""
        return found.passage_ids[best_first(found.scores, found.passage_ids, self.settings.reranked)]

    def reduce(self, scores: Float32Array) -> Float32Array:
        """Sums over the query as the scores that were asked for."""
        return scores / np.float32(len(self.query)) if self.settings.reduction == "mean" else scores

    def _ask(self) -> None:
        where = self.index
        with self.explained.stage("probe"):
            self._probed = best_centroids(self._scores, self.settings.probes)
            distinct = np.unique(self._probed)
        self.explained.probes = len(distinct)
        with self.explained.stage("candidates"):
            self._pending = read.tokens_of_centroids(
                where.connection, where.collection_id, where.codebook_id, distinct, where.codebook.codec.width, self.restriction
            )

    def _has_all(self) -> bool:
        return self.settings.probes >= self._scores.shape[1] and self.settings.k_tokens >= _ALL_TOKENS

    def _widen(self) -> None:
        probes = min(2 * self.settings.probes, self._scores.shape[1])
        k_tokens = _ALL_TOKENS if probes == self._scores.shape[1] else min(2 * self.settings.k_tokens, _ALL_TOKENS)
        self.settings = replace(self.settings, probes=probes, k_tokens=k_tokens)
        self.explained.round_trips += 1
        self._ask()

    def _score_retrieved(self) -> TokenScores:
        explained = self.explained
        with explained.stage("candidates"):
            tokens = self._pending.read()
            if self._sizes:
                self._walked, self._sizes = self._walk(self._sizes), None
        explained.bytes_moved += tokens.bytes_moved
        explained.postings_read = explained.tokens_decoded = len(tokens.passage_ids)
        with explained.stage("tokens"):
            similarity = token_similarity(self.query, self.index.codebook, tokens)
            if not self.settings.pooled:
                similarity[~self._sees(tokens)] = -np.inf
            retrieved = retrieved_tokens(similarity, self.settings.k_tokens)
            missed = missed_scores(self.settings.imputation, similarity, retrieved, self._walked)
            found = score_passages(similarity, retrieved, missed, tokens.passage_ids)
        explained.tokens_retrieved = found.retrieved
        explained.candidates = len(found.passage_ids)
        return found

    def _sees(self, tokens: ListedTokens) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        """(query tokens, tokens) whether the centroid of a token is one that the query token probes."""
        distinct, places = np.unique(self._probed, return_inverse=True)
        probes = np.zeros((len(self._probed), len(distinct)), dtype=np.bool_)
        np.put_along_axis(probes, places.reshape(self._probed.shape), values=True, axis=1)
        return probes.take(np.searchsorted(distinct, tokens.centroid_ids), axis=1)

    def _walk(self, sizes: Pending) -> Float32Array:
        centroid_ids, counts = np.array(sizes.rows(), dtype=np.int64).reshape(-1, 2).T
        if not len(centroid_ids):
            return np.zeros(len(self.query), dtype=np.float32)
        order = np.argsort(centroid_ids)
        scores = self.query @ self.index.codebook.centroids[centroid_ids[order]].T
        return walked_centroids(scores, counts[order])
