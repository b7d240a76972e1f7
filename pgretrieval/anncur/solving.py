"""Solving a factorisation: anchors, the regularisation that does best on held-out queries, and the budget's split."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pgretrieval.anncur.estimate import QueryModel
from pgretrieval.anncur.inverse import REGULARISATIONS, Decomposed, Matrix, Regularisation
from pgretrieval.types import Int64Array

BUDGETS = (10, 20, 50, 100, 200, 500, 1000, 2000)
"""For these the split is learnt; others lie between."""

_HELD_OUT_SHARE = 0.15
_HELD_OUT = (2, 100)
_DEPTH = 100  # of the exact ranking that held-out queries are measured by
_DEPTHS_OF_SPLIT = (1, 10, 100)
_SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass(frozen=True, slots=True)
class Solved:
    """The places of the anchors, U (anchors, queries), C (queries, anchors), and what held-out queries told.

    `condition` is C's; `error` the root of the mean square of an estimated score's error, `recall` the share of a held-out query's
    best items that are among the best by estimate. `split` is how many of a budget's calls go to anchors, by budget.
    """

    anchors: Int64Array
    inverse: Matrix
    intersection: Matrix
    regularisation: Regularisation
    rank: int
    condition: float
    error: float
    recall: float
    split: dict[int, int]


def telling(scores: Matrix) -> Int64Array:
    """The queries whose scores differ between items; from the others nothing can be learnt."""
    return np.flatnonzero(np.ptp(scores, axis=1) > 1e-9 * np.abs(scores).max(axis=1, initial=0))


def solve(scores: Matrix, choose: Callable[[Matrix], Int64Array], seed: int) -> Solved:
    """(queries, items) scores, of all items or a sample of them -> the factorisation by the anchors that are chosen of them.

    Queries with constant scores take no part: their columns of U are zero. The regularisation is tried on held-out queries, with
    the anchors that the others alone would choose: a greedy choice takes the best items of the very queries that it sees. By
    recall it is chosen, then by error; anchors and U are made of all.
    """
    rows = telling(scores)
    told = scores[rows]
    held, kept = _held_out(len(told), seed)
    tried = choose(told[kept])
    fitted = Decomposed(told[np.ix_(kept, tried)])
    trials = [_trial(fitted, regularisation, told, kept, held, tried) for regularisation in REGULARISATIONS]
    best = max(range(len(trials)), key=lambda place: (round(trials[place][0], 4), -trials[place][1]))
    recall, error = trials[best]
    chosen = REGULARISATIONS[best]
    split = learn_split(told, tried, fitted.inverse(chosen), kept, held, error)
    anchors = choose(told)
    whole = Decomposed(told[:, anchors])
    inverse = np.zeros((len(anchors), len(scores)))
    inverse[:, rows] = whole.inverse(chosen)
    return Solved(anchors, inverse, scores[:, anchors], chosen, whole.rank(chosen), whole.condition, error, recall, split)


def _held_out(queries: int, seed: int) -> tuple[Int64Array, Int64Array]:
    count = int(np.clip(round(_HELD_OUT_SHARE * queries), *_HELD_OUT))
    order = np.random.default_rng(seed).permutation(queries)
    return np.sort(order[:count]), np.sort(order[count:])


def _trial(
    fitted: Decomposed, regularisation: Regularisation, told: Matrix, kept: Int64Array, held: Int64Array, anchors: Int64Array
) -> tuple[float, float]:
    """Recall and error of the held-out queries by the others' factorisation."""
    estimated = told[np.ix_(held, anchors)] @ fitted.inverse(regularisation) @ told[kept]
    exact = told[held]
    depth = _depth(told.shape[1], _DEPTH)
    error = float(np.sqrt(np.mean((estimated - exact) ** 2)))
    return recall(exact, estimated, depth), error


def _depth(items: int, depth: int) -> int:
    return max(1, min(depth, items // 10))


def recall(exact: Matrix, estimated: Matrix, depth: int) -> float:
    """Mean share of the `depth` best by `exact` (queries, items) that are among the best by `estimated`."""
    return float((_among_best(exact, depth) & _among_best(estimated, depth)).sum()) / (depth * len(exact))


def _among_best(scores: Matrix, depth: int) -> NDArray[np.bool_]:
    best = np.zeros(scores.shape, dtype=bool)
    np.put_along_axis(best, np.argpartition(-scores, depth - 1, axis=1)[:, :depth], values=True, axis=1)
    return best


def _best(scores: Matrix, depth: int) -> Int64Array:
    places: Int64Array = np.argsort(-scores, axis=1, kind="stable")[:, :depth]
    return places


def learn_split(
    told: Matrix, anchors: Int64Array, inverse: Matrix, kept: Int64Array, held: Int64Array, error: float
) -> dict[int, int]:
    """How many anchors to score for each budget, so that most of the held-out queries' best items are found by the rest.

    Recall is the mean over depths of 1, 10 and 100, as far as the budget goes: nobody knows yet how many hits will be asked for.
    """
    items = told.shape[1]
    embeddings = inverse @ told[kept]
    model = QueryModel(told[np.ix_(kept, anchors)], error**2)
    exact = told[held]
    ranked = _best(exact, min(_DEPTHS_OF_SPLIT[-1], items))
    split: dict[int, int] = {}
    for budget in BUDGETS:
        if budget >= items and split:
            break
        choices = sorted({min(max(1, round(share * budget)), len(anchors)) for share in _SHARES})
        found = {count: _found(count, budget, anchors, embeddings, model, exact, ranked) for count in choices}
        split[budget] = max(choices, key=lambda count: (round(found[count], 4), -count))
    return split


def _found(
    count: int, budget: int, anchors: Int64Array, embeddings: Matrix, model: QueryModel, exact: Matrix, ranked: Int64Array
) -> float:
    """Mean recall where the first `count` anchors are scored, and the rest of the budget goes to the best by estimate."""
    first = anchors[:count]
    vectors = exact[:, first] if count == len(anchors) else model.of_anchors(np.arange(count), exact[:, first])
    estimated = vectors @ embeddings
    estimated[:, first] = np.inf  # scored already
    scored = _among_best(estimated, min(budget, estimated.shape[1]))
    reached = np.take_along_axis(scored, ranked, axis=1)
    return float(np.mean([reached[:, :depth].mean() for depth in _DEPTHS_OF_SPLIT if depth <= budget]))


def anchors_for(budget: int, split: dict[int, int], anchors: int) -> int:
    """How many anchors a budget pays: as learnt, in proportion between the budgets that were tried."""
    if not split:
        return min(max(1, budget // 2), anchors)
    budgets = sorted(split)
    share = np.interp(budget, budgets, [split[tried] / tried for tried in budgets])
    beyond = budgets[-1] < budget
    count = split[budgets[-1]] if beyond and split[budgets[-1]] >= anchors else round(float(share) * budget)
    return int(np.clip(count, 1, min(anchors, budget)))
