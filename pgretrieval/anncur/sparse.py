"""Item vectors fitted to a few scores for each anchor query (AXN, Yadav et al. 2024), instead of to all scores.

Item vectors begin as a retriever's, and each query and each item is in turn the least squares solution of its scores, with a ridge
towards the mean query or towards the retriever's vector. An item without scores keeps its retriever's vector.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from pgretrieval.anncur.inverse import Matrix
from pgretrieval.types import Int64Array

_SWEEPS = 10
_QUERY_RIDGES = (1e-6, 1e-2, 1e-1)
_ITEM_RIDGES = (1e-6, 1e-1, 1.0, 10.0)
_HELD_OUT_SHARE = 0.15
_VALUES_AT_ONCE = 2**24


@dataclass(frozen=True, slots=True)
class SparseScores:
    """Scores of some pairs: places of items and of queries, and the scores, all (pairs,)."""

    items: Int64Array
    queries: Int64Array
    scores: Matrix

    def part(self, chosen: Int64Array) -> SparseScores:
        """Return the pairs at some places."""
        return SparseScores(self.items[chosen], self.queries[chosen], self.scores[chosen])


@dataclass(frozen=True, slots=True)
class Fitted:
    """Query vectors (queries, dims) of the last sweep, and the item ridge that gives the items' vectors.

    `error` is the root mean square error of scores that were held out, `recall` the share of the better half of a query's held-out
    scores that the estimates rank in the better half.
    """

    queries: Matrix
    ridge: float
    error: float
    recall: float


def fit(initial: Matrix, observed: SparseScores, queries: int, seed: int) -> Fitted:
    """Fit query vectors to scores of items with `initial` vectors (items, dims); the ridges are the best on held-out scores."""
    order = np.random.default_rng(seed).permutation(len(observed.scores))
    count = max(1, round(_HELD_OUT_SHARE * len(order)))
    held_out, fitting = observed.part(order[:count]), observed.part(order[count:])
    best = (np.inf, 0.0, (0.0, 0.0))
    for ridges in product(_QUERY_RIDGES, _ITEM_RIDGES):
        users, items = _alternated(initial, fitting, queries, *ridges)
        estimated = np.einsum("pd,pd->p", users[held_out.queries], items[held_out.items])
        error = float(np.sqrt(np.mean((estimated - held_out.scores) ** 2)))
        if error < best[0]:
            best = error, _recall(held_out, estimated), ridges
    error, recall, ridges = best
    users, _ = _alternated(initial, observed, queries, *ridges)
    return Fitted(users, ridges[1], error, recall)


def item_vectors(initial: Matrix, query_vectors: Matrix, observed: SparseScores, ridge: float) -> Matrix:
    """Return (items, dims): for each item the vector that explains its scores, with a ridge towards its initial vector."""
    scale = ridge * float(np.einsum("qd,qd->", query_vectors, query_vectors)) / len(query_vectors)
    return _regressed(query_vectors, observed.queries, observed.items, observed.scores, initial, scale)


def _alternated(
    initial: Matrix, observed: SparseScores, queries: int, query_ridge: float, item_ridge: float
) -> tuple[Matrix, Matrix]:
    items = initial
    mean = _pooled(initial[observed.items], observed.scores, query_ridge)
    users = np.tile(mean, (queries, 1))
    for _ in range(_SWEEPS):
        scale = query_ridge * float(np.einsum("id,id->", items, items)) / len(items)
        prior = np.tile(mean, (queries, 1))
        users = _regressed(items, observed.items, observed.queries, observed.scores, prior, scale)
        mean = users.mean(axis=0)
        items = item_vectors(initial, users, observed, item_ridge)
    return users, items


def _pooled(vectors: Matrix, scores: Matrix, ridge: float) -> Matrix:
    """Return one query vector for the scores of all queries."""
    squares = vectors.T @ vectors
    strength = ridge * float(np.trace(squares)) / len(squares)
    solved: Matrix = np.linalg.solve(squares + strength * np.eye(len(squares)), vectors.T @ scores)
    return solved


def _regressed(known: Matrix, of_known: Int64Array, of_wanted: Int64Array, scores: Matrix, prior: Matrix, ridge: float) -> Matrix:
    """Return vectors like `prior` (wanted, dims), each explaining its scores by products with the `known` vectors of its pairs."""
    found: Matrix = prior.copy()
    for groups, pairs in _equal_groups(of_wanted, known.shape[1]):
        features = known[of_known[pairs]]
        left = scores[pairs] - np.einsum("gnd,gd->gn", features, prior[groups])
        products = features @ features.transpose(0, 2, 1) + ridge * np.eye(pairs.shape[1])
        weights = np.linalg.solve(products, left[:, :, None])
        found[groups] += (features.transpose(0, 2, 1) @ weights)[:, :, 0]
    return found


def _equal_groups(of_wanted: Int64Array, dims: int) -> Iterator[tuple[Int64Array, Int64Array]]:
    """Yield places of vectors that have equally many pairs (groups,), and their pairs (groups, pairs), a few at a time."""
    order = np.argsort(of_wanted, kind="stable")
    wanted, starts, counts = np.unique(of_wanted[order], return_index=True, return_counts=True)
    for count in np.unique(counts).tolist():
        same = np.flatnonzero(counts == count)
        pairs = order[starts[same][:, None] + np.arange(count)]
        step = max(1, _VALUES_AT_ONCE // (count * (count + dims)))
        for start in range(0, len(same), step):
            yield wanted[same[start : start + step]], pairs[start : start + step]


def _recall(held_out: SparseScores, estimated: Matrix) -> float:
    shares = []
    for _, pairs in _equal_groups(held_out.queries, 1):
        half = pairs.shape[1] // 2
        if half:
            exact, guessed = (_best_half(scores[pairs], half) for scores in (held_out.scores, estimated))
            shares.append((exact & guessed).sum(axis=1) / half)
    return float(np.concatenate(shares).mean()) if shares else 0.0


def _best_half(scores: Matrix, half: int) -> NDArray[np.bool_]:
    places: Int64Array = np.argsort(np.argsort(-scores, axis=1, kind="stable"), axis=1)
    return places < half


def random_pairs(items: int, queries: int, count: int, seed: int) -> tuple[Int64Array, Int64Array]:
    """Return the places of items and queries of pairs: `count` different items for each query, drawn by seed."""
    rng = np.random.default_rng(seed)
    drawn = [rng.choice(items, min(count, items), replace=False) for _ in range(queries)]
    return np.concatenate(drawn), np.repeat(np.arange(queries), min(count, items))


def pairs_of(hits: Sequence[Sequence[int]]) -> tuple[Int64Array, Int64Array]:
    """Return the places of items and queries of pairs, from the items of each query."""
    lengths = [len(each) for each in hits]
    return np.array([place for each in hits for place in each], dtype=np.int64), np.repeat(np.arange(len(hits)), lengths)
