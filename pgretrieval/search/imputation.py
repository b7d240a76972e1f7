"""Scores from retrieved tokens (XTR, section 3.2): retrieved tokens of each query token, imputed scores, and their sum."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from pgretrieval.numerics.centroid_scores import CentroidScores
from pgretrieval.search.interaction import distinct_ids
from pgretrieval.search.probe import centroids_with_tokens
from pgretrieval.types import Float32Array, Imputation, Int32Array, Int64Array

_GROUPS_PER_RETRIEVED = 4
_ALL_BUT_SIGN = np.int32(2**31 - 1)
WARP_TOKENS = 8
"""Factor of WARP's budget sqrt(8 * tokens). Its code rounds down to thousands, that is to 0 below 125,000 tokens; we do not."""


class TokenScores(NamedTuple):
    """Passages with a retrieved token, ascending, and their scores; `missed` (query tokens,) is imputed, and `others` its sum, the
    score of every other passage.
    """

    passage_ids: Int32Array
    scores: Float32Array
    missed: Float32Array
    retrieved: int

    @property
    def others(self) -> float:
        """Score of a passage without a retrieved token."""
        return float(self.missed.sum(dtype=np.float64))

    def of(self, passage_ids: Int32Array) -> Float32Array:
        """Return the scores of the given passages."""
        places = np.minimum(np.searchsorted(self.passage_ids, passage_ids), max(len(self.passage_ids) - 1, 0))
        if not len(self.passage_ids):
            return np.full(len(passage_ids), self.others, dtype=np.float32)
        found: Float32Array = np.where(self.passage_ids[places] == passage_ids, self.scores[places], self.others)
        return found.astype(np.float32)


class Retrieved(NamedTuple):
    """Tokens that query tokens retrieve, (entries,): positions of tokens, the query tokens that retrieve them, and similarities."""

    tokens: Int64Array
    query_tokens: Int64Array
    scores: Float32Array


def retrieve(similarity: Float32Array, query_tokens: int, k_tokens: int, passage_ids: Int32Array) -> Retrieved:
    """Return the best `k_tokens` of each of the first columns of (tokens, query tokens or more), fewer than there are tokens.

    Ties at the end go to the smaller passage id, so that results do not depend on the order of tokens.
    """
    width = similarity.shape[1]
    least = np.full(width, np.inf, dtype=np.float32)
    least[:query_tokens] = _lower_bound(similarity, query_tokens, k_tokens)
    places = np.flatnonzero((similarity >= least).reshape(-1))  # in one dimension it is ten times as fast
    tokens, columns = places // width, places % width
    scores = similarity.reshape(-1)[places]
    keys = (columns << 32) - _ordered_bits(scores)
    order = np.argsort(keys)
    starts = np.searchsorted(columns[order], np.arange(query_tokens + 1))
    last = starts[:-1] + k_tokens
    if (keys[order[last - 1]] == keys[order[np.minimum(last, len(order) - 1)]])[last < starts[1:]].any():
        order = np.lexsort((passage_ids[tokens], keys))
    chosen = order[(starts[:-1, None] + np.arange(k_tokens)).ravel()]
    return Retrieved(tokens[chosen], columns[chosen], scores[chosen])


def _lower_bound(similarity: Float32Array, query_tokens: int, k_tokens: int) -> Float32Array:
    """Return a number (query tokens,) that at least `k_tokens` of each column reach, and few more: a number that so many groups of
    tokens reach.
    """
    while (half := len(similarity) // 2) >= _GROUPS_PER_RETRIEVED * k_tokens:
        similarity = np.maximum(similarity[:half], similarity[half : 2 * half])  # of whole rows, which lie together in memory
    places = len(similarity) - k_tokens
    bound: Float32Array = np.partition(similarity[:, :query_tokens].T, places, axis=1)[:, places]
    return bound


def _ordered_bits(scores: Float32Array) -> Int64Array:
    """Return whole numbers in the order of the scores: the bits of negative ones run the other way."""
    bits = (scores + np.float32(0)).view(np.int32)  # -0 becomes 0
    ordered: Int64Array = (bits ^ ((bits >> 31) & _ALL_BUT_SIGN)).astype(np.int64)
    return ordered


def warp_scores(scores: CentroidScores, sizes: Int64Array) -> Float32Array:
    """Return WARP's imputed scores (query tokens,) from the token counts (centroids,).

    A score is that of the first centroid, in descending order, at which the cumulative token count exceeds the budget, or else of
    the last centroid that has tokens.
    """
    total = int(sizes.sum())
    beyond = math.floor(math.sqrt(WARP_TOKENS * total)) + 1
    if total >= beyond:
        best, widths = centroids_with_tokens(scores, sizes, beyond)
        walked: Float32Array = scores.of(best[np.arange(len(best)), widths - 1]).diagonal()
        return walked
    with_tokens = np.flatnonzero(sizes).astype(np.int32)
    last: Float32Array = scores.of(with_tokens).min(axis=1, initial=np.inf if total else 0)
    return last


def score_retrieved(
    similarity: Float32Array,
    query_tokens: int,
    k_tokens: int,
    passage_ids: Int32Array,
    imputation: Imputation,
    warp: Float32Array | None,
) -> TokenScores:
    """Sum over the query the best retrieved token of each passage, or the imputed score (XTR, equation 5).

    `similarity` is (tokens, query tokens or more), `passage_ids` (tokens,) in any order, and `warp` (query tokens,) what
    `imputation` "warp" imputes.
    """
    if not len(passage_ids):
        missed = imputed(imputation, np.zeros(query_tokens, dtype=np.float32), warp)
        return TokenScores(passage_ids, np.empty(0, dtype=np.float32), missed, 0)
    if k_tokens >= len(similarity):
        ids, owners = distinct_ids(passage_ids)
        order = np.argsort(owners, kind="stable")
        similarity = similarity[order, :query_tokens]
        best = np.maximum.reduceat(similarity, np.searchsorted(owners[order], np.arange(len(ids))), axis=0)
        missed, count = imputed(imputation, similarity.min(axis=0), warp), similarity.size
    else:
        found = retrieve(similarity, query_tokens, k_tokens, passage_ids)
        ids, owners = distinct_ids(passage_ids[found.tokens])
        best = np.full((len(ids), query_tokens), -np.inf, dtype=np.float32)
        np.maximum.at(best.reshape(-1), owners * np.int64(query_tokens) + found.query_tokens, found.scores)
        missed = imputed(imputation, found.scores.reshape(-1, k_tokens).min(axis=1), warp)
        count = len(found.scores)
    scores = np.where(best > -np.inf, best, missed).sum(axis=1, dtype=np.float64)
    return TokenScores(ids, scores.astype(np.float32), missed, count)


def best_retrieved(
    similarity: Float32Array, query_tokens: int, k_tokens: int, passage_ids: Int32Array, wanted: Int32Array
) -> Int64Array:
    """Return the best token (wanted, query tokens) that each query token retrieved of the wanted passages, -1 where it has none."""
    order = np.argsort(wanted)
    owners = order[np.minimum(np.searchsorted(wanted, passage_ids, sorter=order), len(wanted) - 1)]
    rows = np.flatnonzero(wanted[owners] == passage_ids)
    if k_tokens >= len(similarity):
        tokens, columns = np.repeat(rows, query_tokens), np.tile(np.arange(query_tokens), len(rows))
    else:
        found = retrieve(similarity, query_tokens, k_tokens, passage_ids)
        theirs = np.isin(found.tokens, rows)
        tokens, columns = found.tokens[theirs], found.query_tokens[theirs]
    best_last = np.lexsort((-tokens, similarity[tokens, columns]))
    tokens, columns = tokens[best_last], columns[best_last]
    best = np.full((len(wanted), query_tokens), -1, dtype=np.int64)
    best[owners[tokens], columns] = tokens  # of several the last stays
    return best


def imputed(imputation: Imputation, last_retrieved: Float32Array, warp: Float32Array | None) -> Float32Array:
    """Return imputed scores (query tokens,) for passages of which a query token retrieved no token."""
    if imputation == "kth":
        return last_retrieved
    if warp is not None:
        return warp
    return np.full(len(last_retrieved), 0 if imputation == "zero" else imputation, dtype=np.float32)
