"""Which items are anchors, and in which order: the first few of them must tell as much as so few can."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from pgretrieval.anncur.inverse import Matrix
from pgretrieval.types import Int64Array

Selection = Literal["greedy", "random", "kmeans", "top"]
SELECTIONS: tuple[Selection, ...] = ("greedy", "random", "kmeans", "top")

_EXHAUSTED = 1e-12  # of the squared length that a column had


def choose_anchors(
    scores: Matrix, count: int, selection: Selection, seed: int, spread: Callable[[int], Int64Array] | None = None
) -> Int64Array:
    """(queries, items) scores -> the places of `count` anchor items, the most telling first.

    "greedy" pivots over the columns of the scores; "random" draws; "top" takes the items with the highest mean score; "kmeans"
    takes what `spread` gives, one place for each of so many means of the passages' vectors. All but the first are put in pivoted
    order, so that the beginning of every selection serves a small budget.
    """
    count = min(count, scores.shape[1])
    if selection == "greedy":
        return pivots(scores, count)
    if selection == "random":
        chosen = np.random.default_rng(seed).choice(scores.shape[1], count, replace=False)
    elif selection == "top":
        chosen = np.argsort(-scores.mean(axis=0), kind="stable")[:count]
    else:
        chosen = spread(count) if spread else np.arange(count)
    return chosen[pivots(scores[:, chosen], len(chosen))]


def pivots(scores: Matrix, count: int) -> Int64Array:
    """The columns that a QR decomposition with pivoting takes first: each is the one that the others before it explain least.

    Once they explain all columns, as soon as they are as many as queries, it begins again with the columns that are left.
    """
    chosen: list[int] = []
    lengths = np.einsum("qi,qi->i", scores, scores)
    left, basis = lengths.copy(), np.empty((0, scores.shape[0]))
    taken = np.zeros(scores.shape[1], dtype=bool)
    while len(chosen) < count:
        column = int(np.argmax(np.where(taken, -1, left)))
        if left[column] <= _EXHAUSTED * max(lengths[column], _EXHAUSTED) and len(basis):
            left, basis = lengths.copy(), np.empty((0, scores.shape[0]))
            continue
        chosen.append(column)
        taken[column] = True
        rest = scores[:, column].copy()
        for _ in range(2):  # once more against rounding
            rest -= basis.T @ (basis @ rest)
        length = np.linalg.norm(rest)
        if length > 0:
            direction = rest / length
            left = np.maximum(left - (direction @ scores) ** 2, 0)
            left[column] = 0
            basis = np.vstack([basis, direction])
    return np.array(chosen, dtype=np.int64)
