"""One query of a collection scored by retrieved tokens: ask for the tokens of probed centroids, read them, score passages."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from torch import Tensor

from pgretrieval.db import candidates as read
from pgretrieval.db.candidates import ListedTokens, Pending, PendingTokens
from pgretrieval.db.connection import Connection
from pgretrieval.numerics.codebook import Codebook
from pgretrieval.search.explain import Explanation
from pgretrieval.search.fusion import Beside
from pgretrieval.search.probe import best_centroids, centroid_scores, reaching
from pgretrieval.search.rank import best_first, token_similarity
from pgretrieval.search.token_settings import TokenSettings
from pgretrieval.search.tokens import Mask, TokenScores, missed_scores, retrieved_tokens, score_passages, walked_centroids
from pgretrieval.types import CodebookId, CollectionId, Float32Array, Int32Array, Int64Array, Restriction

_ALL_TOKENS = 2**31 - 1
_ENOUGH = 0.75  # of the tokens to be seen; a few that were deleted since are not worth another round trip


class TokenIndex(NamedTuple):
    """What a collection's tokens are read and decoded by; `quick_centroids` is (centroids, dim) for scores that only choose.

    `tokens` is how many tokens the caller sees; `sizes` (centroids,) how many each centroid lists, None where that would tell of
    passages that the caller does not see. Both are as they were when the index was loaded.
    """

    connection: Connection
    collection_id: CollectionId
    codebook_id: CodebookId
    codebook: Codebook
    quick_centroids: Tensor
    tokens: int
    sizes: Int64Array | None


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
    _widths: Int64Array = field(init=False)
    """(query tokens,) how many centroids each looks up."""
    _probed: Int32Array = field(init=False)
    _pending: PendingTokens = field(init=False)
    _sizes: Pending | None = field(init=False, default=None)
    _walked: Float32Array | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        where = self.index
        with self.explained.stage("probe"):
            self._scores = centroid_scores(self.query, where.quick_centroids)
            probed = self._look()
        self._ask(probed)
        if self.settings.imputation == "warp":
            self._sizes = read.centroid_sizes(where.connection, where.collection_id, where.codebook_id, where.codebook.codec.width)

    def score(self, k: int) -> TokenScores:
        """The passages of retrieved tokens.

        Where a query token sees too few tokens, it looks up more centroids, in the end all. Where fewer than k passages come though
        more match, twice as many centroids are probed and twice as many tokens retrieved, in the end all.
        """
        matches: int | None = None
        while True:
            found = self._score_retrieved(self._read())
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

    def _look(self) -> Int32Array:
        """The best centroids of each query token, after `_widths` is set to how many it looks up at first."""
        where, settings = self.index, self.settings
        if settings.probes is None and where.sizes is not None and self.restriction is None:
            probed, self._widths = reaching(self._scores, where.sizes, settings.seen)
            return probed
        centroids = self._scores.shape[1]
        each = math.ceil(settings.seen * centroids / max(where.tokens, 1)) if settings.probes is None else settings.probes
        width = min(max(each, 1), centroids)
        self._widths = np.full(len(self.query), width, dtype=np.int64)
        return best_centroids(self._scores, width)

    def _ask(self, probed: Int32Array) -> None:
        where = self.index
        with self.explained.stage("probe"):
            self._probed = probed
            distinct = np.unique(self._probed[self._looked_up()])
        self.explained.probes = len(distinct)
        with self.explained.stage("candidates"):
            self._pending = read.tokens_of_centroids(
                where.connection, where.collection_id, where.codebook_id, distinct, where.codebook.codec.width, self.restriction
            )

    def _looked_up(self) -> Mask:
        """(query tokens, most that one looks up) which of `_probed` each looks up."""
        looked_up: Mask = np.arange(self._probed.shape[1]) < self._widths[:, None]
        return looked_up

    def _has_all(self) -> bool:
        return bool((self._widths == self._scores.shape[1]).all()) and self.settings.k_tokens >= _ALL_TOKENS

    def _widen(self) -> None:
        centroids = self._scores.shape[1]
        widths = np.minimum(2 * self._widths, centroids)
        k_tokens = _ALL_TOKENS if (widths == centroids).all() else min(2 * self.settings.k_tokens, _ALL_TOKENS)
        self.settings = replace(self.settings, k_tokens=k_tokens)
        self._ask_again(widths)

    def _ask_again(self, widths: Int64Array) -> None:
        self._widths = widths
        self.explained.round_trips += 1
        with self.explained.stage("probe"):
            probed = best_centroids(self._scores, int(widths.max()))
        self._ask(probed)

    def _read(self) -> ListedTokens:
        """The tokens of centroids that hold enough for each query token, of those passages alone that count."""
        explained, centroids = self.explained, self._scores.shape[1]
        while True:
            with explained.stage("candidates"):
                tokens = self._pending.read()
                if self._sizes:
                    self._walked, self._sizes = self._walk(self._sizes), None
            explained.bytes_moved += tokens.bytes_moved
            explained.postings_read = explained.tokens_decoded = len(tokens.passage_ids)
            counts = np.bincount(tokens.centroid_ids, minlength=centroids)
            seen = (counts[self._probed] * self._looked_up()).sum(axis=1)
            short = (seen < _ENOUGH * self.settings.seen) & (self._widths < centroids)
            if not short.any():
                return tokens
            likely = np.ceil(self._widths * (self.settings.seen / np.maximum(seen, 1)))
            wider = np.minimum(np.maximum(likely, 2 * self._widths), centroids).astype(np.int64)
            self._ask_again(np.where(short, wider, self._widths))

    def _score_retrieved(self, tokens: ListedTokens) -> TokenScores:
        explained = self.explained
        with explained.stage("tokens"):
            similarity = token_similarity(self.query, self.index.codebook, tokens)
            retrieved = retrieved_tokens(similarity, self.settings.k_tokens)
            missed = missed_scores(self.settings.imputation, similarity, retrieved, self._walked)
            found = score_passages(similarity, retrieved, missed, tokens.passage_ids)
        explained.tokens_retrieved = found.retrieved
        explained.candidates = len(found.passage_ids)
        return found

    def _walk(self, sizes: Pending) -> Float32Array:
        centroid_ids, counts = np.array(sizes.rows(), dtype=np.int64).reshape(-1, 2).T
        if not len(centroid_ids):
            return np.zeros(len(self.query), dtype=np.float32)
        order = np.argsort(centroid_ids)
        scores = self.query @ self.index.codebook.centroids[centroid_ids[order]].T
        return walked_centroids(scores, counts[order])
