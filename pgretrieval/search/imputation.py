"""Scores from retrieved tokens (XTR, section 3.2): retrieved tokens of each query token, imputed scores, and their sum."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pgretrieval.numerics.maxsim import segment_max
from pgretrieval.types import Float32Array, Imputation, Int32Array, Int64Array

Mask = NDArray[np.bool_]

WARP_TOKENS = 8
"""Factor of WARP's budget sqrt(8 * tokens). Its code rounds down to thousands, that is to 0 below 125,000 tokens; we do not."""


class TokenScores(NamedTuple):
    """Passages with a retrieved token, ascending, and their scores; `others` is the score of every other passage."""

    passage_ids: Int32Array
    scores: Float32Array
    others: float
    retrieved: int

    def of(self, passage_ids: Int32Array) -> Float32Array:
        """Return the scores of the given passages."""
        places = np.minimum(np.searchsorted(self.passage_ids, passage_ids), max(len(self.passage_ids) - 1, 0))
        if not len(self.passage_ids):
            return np.full(len(passage_ids), self.others, dtype=np.float32)
        found: Float32Array = np.where(self.passage_ids[places] == passage_ids, self.scores[places], self.others)
        return found.astype(np.float32)


def retrieved_tokens(similarity: Float32Array, k_tokens: int) -> Mask:
    """Return the mask of the best `k_tokens` of each row of (query tokens, tokens), where -inf marks excluded tokens.

    Ties at the end are broken by position, so that results do not depend on the order of comparisons.
    """
    count = similarity.shape[1]
    if k_tokens >= count:
        seen: Mask = similarity > -np.inf
        return seen
    last = np.partition(similarity, count - k_tokens, axis=1)[:, count - k_tokens, None]
    chosen: Mask = similarity >= last
    if np.count_nonzero(chosen) == k_tokens * len(chosen):  # no row has ties at the end
        return chosen
    above = similarity > last
    level = (similarity == last) & (last > -np.inf)
    left = k_tokens - above.sum(axis=1, keepdims=True)
    first: Mask = above | (level & (np.cumsum(level, axis=1) <= left))
    return first


def last_retrieved(similarity: Float32Array, retrieved: Mask) -> Float32Array:
    """Return the lowest retrieved score of each query token (query tokens,), 0 if it retrieved none: XTR's imputation."""
    last = np.where(retrieved, similarity, np.inf).min(axis=1, initial=np.inf)
    scores: Float32Array = np.where(np.isfinite(last), last, 0).astype(np.float32)
    return scores


def warp_scores(scores: Float32Array, sizes: Int64Array) -> Float32Array:
    """Return WARP's imputed scores (query tokens,) from scores (query tokens, centroids) and token counts (centroids,).

    A score is that of the first centroid, in descending order, at which the cumulative token count exceeds the budget, or else of
    the last centroid.
    """
    order = np.argsort(-scores, axis=1, kind="stable")
    passed = np.cumsum(sizes[order], axis=1) > np.sqrt(WARP_TOKENS * sizes.sum())
    first = np.where(passed.any(axis=1), passed.argmax(axis=1), scores.shape[1] - 1)
    rows = np.arange(len(scores))
    warp: Float32Array = scores[rows, order[rows, first]]
    return warp


def imputed_scores(imputation: Imputation, similarity: Float32Array, retrieved: Mask, warp: Float32Array | None) -> Float32Array:
    """Return imputed scores (query tokens,) for passages of which a query token retrieved no token."""
    if imputation == "kth":
        return last_retrieved(similarity, retrieved)
    if warp is not None:
        return warp
    return np.full(len(similarity), 0 if imputation == "zero" else imputation, dtype=np.float32)


def score_passages(similarity: Float32Array, retrieved: Mask, imputed: Float32Array, passage_ids: Int32Array) -> TokenScores:
    """Sum over the query the best retrieved token of each passage, or the imputed score; `passage_ids` (tokens,) ascend."""
    others = float(imputed.sum(dtype=np.float64))
    seen = np.flatnonzero(retrieved.any(axis=0))
    ids, starts = np.unique(passage_ids[seen], return_index=True)
    if not len(ids):
        return TokenScores(ids, np.empty(0, dtype=np.float32), others, 0)
    retrieved = retrieved[:, seen]
    best = segment_max(np.where(retrieved, similarity[:, seen], -np.inf).astype(np.float32), np.append(starts, len(seen)))
    scores = np.where(best > -np.inf, best, imputed[:, None]).sum(axis=0, dtype=np.float64)
    return TokenScores(ids, scores.astype(np.float32), others, int(retrieved.sum()))
