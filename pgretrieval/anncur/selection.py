"""Selection of anchor items, ordered so that each prefix is a good smaller selection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from pgretrieval.anncur.inverse import Matrix
from pgretrieval.types import Int64Array

Selection = Literal["auto", "greedy", "random", "kmeans", "top", "search"]
"""Selection of anchor items; of the scored pairs, if not all are scored, "search" (the hits of the anchor queries) or "random"."""

SELECTIONS: tuple[Selection, ...] = ("auto", "greedy", "random", "kmeans", "top")
AUTOMATIC: tuple[Selection, ...] = ("greedy", "top")
"""Selections that "auto" tries on held-out queries; neither of the others was best in any measurement."""

SELECTIONS_OF_PAIRS: tuple[Selection, ...] = ("search", "random")

_EXHAUSTED = 1e-12  # share of a column's squared length; less is rounding


def choose_anchors(
    scores: Matrix, count: int, selection: Selection, seed: int, spread: Callable[[int], Int64Array] | None = None
) -> Int64Array:
    """Return the places of `count` anchor items for scores (queries, items), the most informative first.

    "greedy" pivots over the columns of the scores, "random" draws, "top" takes the items with the highest mean score, and "kmeans"
    takes the result of `spread`, one place for each mean of the passages' vectors. All but "greedy" are put in pivoted order, so
    that a prefix of every selection serves a small budget.
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
    """Return the columns in the order of a pivoted QR decomposition: each is least explained by those before it.

    If all columns are explained, at the latest after as many as there are queries, the order restarts with the remaining columns.
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
        for _ in range(2):  # the second pass removes rounding errors
            rest -= basis.T @ (basis @ rest)
        length = np.linalg.norm(rest)
        if length > 0:
            direction = rest / length
            left = np.maximum(left - (direction @ scores) ** 2, 0)
            left[column] = 0
            basis = np.vstack([basis, direction])
    return np.array(chosen, dtype=np.int64)
