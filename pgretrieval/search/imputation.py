"""Scores from retrieved tokens alone (XTR, section 3.2): the best tokens of each query token, what is missed, and their sum."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pgretrieval.numerics.maxsim import segment_max
from pgretrieval.types import Float32Array, Imputation, Int32Array, Int64Array

Mask = NDArray[np.bool_]

WARP_TOKENS = 8
"""WARP's budget is sqrt(8 * tokens), which its code rounds down to thousands: to none for fewer than 125,000 tokens."""


class TokenScores(NamedTuple):
    """Passages that have a retrieved token, ascending, with their sums over the query; `others` is that of any other passage."""

    passage_ids: Int32Array
    scores: Float32Array
    others: float
    retrieved: int

    def of(self, passage_ids: Int32Array) -> Float32Array:
        """The score of each of some passages, retrieved or not."""
        places = np.minimum(np.searchsorted(self.passage_ids, passage_ids), max(len(self.passage_ids) - 1, 0))
        if not len(self.passage_ids):
            return np.full(len(passage_ids), self.others, dtype=np.float32)
        found: Float32Array = np.where(self.passage_ids[places] == passage_ids, self.scores[places], self.others)
        return found.astype(np.float32)


def retrieved_tokens(similarity: Float32Array, k_tokens: int) -> Mask:
    """(query tokens, tokens), -inf for what a query token does not see -> the best `k_tokens` of each row.

    Of equal ones at the end the first come, so that the answer does not depend on the order in which a machine compares.
    """
    count = similarity.shape[1]
    if k_tokens >= count:
        seen: Mask = similarity > -np.inf
        return seen
    last = np.partition(similarity, count - k_tokens, axis=1)[:, count - k_tokens, None]
    chosen: Mask = similarity >= last
    if np.count_nonzero(chosen) == k_tokens * len(chosen):  # no row has more of them at the end
        return chosen
    above = similarity > last
    level = (similarity == last) & (last > -np.inf)
    left = k_tokens - above.sum(axis=1, keepdims=True)
    first: Mask = above | (level & (np.cumsum(level, axis=1) <= left))
    return first


def last_retrieved(similarity: Float32Array, retrieved: Mask) -> Float32Array:
    """(query tokens,) the least retrieved score of each, 0 where nothing was retrieved: XTR's imputation."""
    last = np.where(retrieved, similarity, np.inf).min(axis=1, initial=np.inf)
    scores: Float32Array = np.where(np.isfinite(last), last, 0).astype(np.float32)
    return scores


def walked_centroids(scores: Float32Array, sizes: Int64Array) -> Float32Array:
    """(query tokens,) of (query tokens, centroids) scores and (centroids,) tokens: WARP's imputation.

    It is the score of the first centroid, from the best on, up to which the centroids hold more tokens than the budget; that of
    the last where they do not.
    """
    order = np.argsort(-scores, axis=1, kind="stable")
    passed = np.cumsum(sizes[order], axis=1) > np.sqrt(WARP_TOKENS * sizes.sum())
    first = np.where(passed.any(axis=1), passed.argmax(axis=1), scores.shape[1] - 1)
    rows = np.arange(len(scores))
    walked: Float32Array = scores[rows, order[rows, first]]
    return walked


def missed_scores(imputation: Imputation, similarity: Float32Array, retrieved: Mask, walked: Float32Array | None) -> Float32Array:
    """(query tokens,) what a passage scores where the query token retrieved none of its tokens."""
    if imputation == "kth":
        return last_retrieved(similarity, retrieved)
    if walked is not None:
        return walked
    return np.full(len(similarity), 0 if imputation == "zero" else imputation, dtype=np.float32)


def score_passages(similarity: Float32Array, retrieved: Mask, missed: Float32Array, passage_ids: Int32Array) -> TokenScores:
    """Sum over the query of each passage's best retrieved token, or what is missed; `passage_ids` (tokens,) ascend."""
    others = float(missed.sum(dtype=np.float64))
    seen = np.flatnonzero(retrieved.any(axis=0))
    ids, starts = np.unique(passage_ids[seen], return_index=True)
    if not len(ids):
        return TokenScores(ids, np.empty(0, dtype=np.float32), others, 0)
    retrieved = retrieved[:, seen]
    best = segment_max(np.where(retrieved, similarity[:, seen], -np.inf).astype(np.float32), np.append(starts, len(seen)))
    scores = np.where(best > -np.inf, best, missed[:, None]).sum(axis=0, dtype=np.float64)
    return TokenScores(ids, scores.astype(np.float32), others, int(retrieved.sum()))
