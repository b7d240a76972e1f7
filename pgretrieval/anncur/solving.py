"""Solution of a factorisation: anchors, the regularisation that is best on held-out queries, and the split of the budget."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pgretrieval.anncur.estimate import QueryModel
from pgretrieval.anncur.inverse import REGULARISATIONS, Decomposed, Matrix, Regularisation
from pgretrieval.types import Int64Array

Split = Literal["auto", "all"]
"""Learn how many calls of a budget go to anchors, or score every anchor item, as in ANNCUR's paper."""

SPLITS: tuple[Split, ...] = ("auto", "all")

BUDGETS = (10, 20, 50, 100, 200, 500, 1000, 2000)
"""Budgets whose split is learnt; others are interpolated."""

_HELD_OUT_SHARE = 0.15
_HELD_OUT = (2, 100)
_DEPTH = 100  # depth of recall on held-out queries
_DEPTHS_OF_SPLIT = (1, 10, 100)
_SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass(frozen=True, slots=True)
class Solved:
    """Anchor places, U (anchors, queries), C (queries, anchors), and measures on held-out queries.

    `condition` is the condition number of C, `error` the root mean square error of estimated scores, `recall` the share of a
    held-out query's best items that are among the best by estimate. `split` maps a budget to the number of its calls that go to
    anchors, and `searched` is what searches of those budgets find for held-out queries.
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
    searched: float


def informative_queries(scores: Matrix) -> Int64Array:
    """Return the places of queries whose scores vary between items; constant scores carry no information."""
    return np.flatnonzero(np.ptp(scores, axis=1) > 1e-9 * np.abs(scores).max(axis=1, initial=0))


@dataclass(frozen=True, slots=True)
class _Tried:
    """A choice of anchors as the held-out queries find it."""

    regularisation: Regularisation
    error: float
    recall: float
    split: dict[int, int]
    searched: float


def solve(
    scores: Matrix,
    choose: Callable[[Matrix], Int64Array],
    seed: int,
    regularisations: Sequence[Regularisation] = REGULARISATIONS,
) -> Solved:
    """Return the factorisation of scores (queries, items), of all items or a sample.

    Queries with constant scores are excluded: their columns of U are zero. Regularisations are compared on held-out queries, with
    the anchors that the other queries choose, because a greedy choice favours the best items of the queries that it sees. The
    criterion is recall, then error. The final anchors and U use all queries.
    """
    return solve_best(scores, (choose,), seed, regularisations)[1]


def solve_best(
    scores: Matrix,
    choices: Sequence[Callable[[Matrix], Int64Array]],
    seed: int,
    regularisations: Sequence[Regularisation] = REGULARISATIONS,
) -> tuple[int, Solved]:
    """Return the place of the choice with which searches find the most for held-out queries, the first of equals, and its
    factorisation, as `solve` does.
    """
    rows = informative_queries(scores)
    informative = scores[rows]
    held_out, fitting = _held_out(len(informative), seed)
    tried = [_tried(informative, choose, fitting, held_out, regularisations) for choose in choices]
    place = max(range(len(tried)), key=lambda number: round(tried[number].searched, 4))
    best = tried[place]
    anchors = choices[place](informative)
    whole = Decomposed(informative[:, anchors])
    inverse = np.zeros((len(anchors), len(scores)))
    inverse[:, rows] = whole.inverse(best.regularisation)
    return place, Solved(
        anchors,
        inverse,
        scores[:, anchors],
        best.regularisation,
        whole.rank(best.regularisation),
        whole.condition,
        best.error,
        best.recall,
        best.split,
        best.searched,
    )


def _tried(
    informative: Matrix,
    choose: Callable[[Matrix], Int64Array],
    fitting: Int64Array,
    held_out: Int64Array,
    regularisations: Sequence[Regularisation],
) -> _Tried:
    anchors = choose(informative[fitting])
    fitted = Decomposed(informative[np.ix_(fitting, anchors)])
    trials = [_trial(fitted, regularisation, informative, fitting, held_out, anchors) for regularisation in regularisations]
    best = max(range(len(trials)), key=lambda place: (round(trials[place][0], 4), -trials[place][1]))
    recall, error = trials[best]
    chosen = regularisations[best]
    split, searched = learn_split(informative, anchors, fitted.inverse(chosen), fitting, held_out, error)
    return _Tried(chosen, error, recall, split, searched)


def _held_out(queries: int, seed: int) -> tuple[Int64Array, Int64Array]:
    count = int(np.clip(round(_HELD_OUT_SHARE * queries), *_HELD_OUT))
    order = np.random.default_rng(seed).permutation(queries)
    return np.sort(order[:count]), np.sort(order[count:])


def _trial(
    fitted: Decomposed,
    regularisation: Regularisation,
    informative: Matrix,
    fitting: Int64Array,
    held_out: Int64Array,
    anchors: Int64Array,
) -> tuple[float, float]:
    """Return recall and error on held-out queries of a factorisation by the others."""
    estimated = informative[np.ix_(held_out, anchors)] @ fitted.inverse(regularisation) @ informative[fitting]
    exact = informative[held_out]
    depth = _recall_depth(informative.shape[1], _DEPTH)
    error = float(np.sqrt(np.mean((estimated - exact) ** 2)))
    return recall(exact, estimated, depth), error


def _recall_depth(items: int, depth: int) -> int:
    return max(1, min(depth, items // 10))


def recall(exact: Matrix, estimated: Matrix, depth: int) -> float:
    """Return the mean share of the `depth` best by `exact` (queries, items) that are among the best by `estimated`."""
    return float((_top_mask(exact, depth) & _top_mask(estimated, depth)).sum()) / (depth * len(exact))


def _top_mask(scores: Matrix, depth: int) -> NDArray[np.bool_]:
    best = np.zeros(scores.shape, dtype=bool)
    np.put_along_axis(best, np.argpartition(-scores, depth - 1, axis=1)[:, :depth], values=True, axis=1)
    return best


def _top_places(scores: Matrix, depth: int) -> Int64Array:
    places: Int64Array = np.argsort(-scores, axis=1, kind="stable")[:, :depth]
    return places


def learn_split(
    informative: Matrix, anchors: Int64Array, inverse: Matrix, fitting: Int64Array, held_out: Int64Array, error: float
) -> tuple[dict[int, int], float]:
    """Return, for each budget, the number of anchors that gives the best recall on held-out queries, and the mean of these recalls.

    Recall is the mean over depths 1, 10 and 100, up to the budget, because k of later searches is unknown.
    """
    items = informative.shape[1]
    embeddings = inverse @ informative[fitting]
    model = QueryModel(informative[np.ix_(fitting, anchors)], error**2)
    exact = informative[held_out]
    ranked = _top_places(exact, min(_DEPTHS_OF_SPLIT[-1], items))
    split: dict[int, int] = {}
    best: list[float] = []
    for budget in BUDGETS:
        if budget >= items and split:
            break
        choices = sorted({min(max(1, round(share * budget)), len(anchors)) for share in _SHARES})
        found = {count: _recall_of_split(count, budget, anchors, embeddings, model, exact, ranked) for count in choices}
        split[budget] = max(choices, key=lambda count: (round(found[count], 4), -count))
        best.append(found[split[budget]])
    return split, float(np.mean(best))


def _recall_of_split(
    count: int, budget: int, anchors: Int64Array, embeddings: Matrix, model: QueryModel, exact: Matrix, ranked: Int64Array
) -> float:
    """Return the mean recall if the first `count` anchors are scored and the remaining calls go to the best by estimate."""
    first = anchors[:count]
    vectors = exact[:, first] if count == len(anchors) else model.of_anchors(np.arange(count), exact[:, first])
    estimated = vectors @ embeddings
    estimated[:, first] = np.inf  # already scored
    scored = _top_mask(estimated, min(budget, estimated.shape[1]))
    reached = np.take_along_axis(scored, ranked, axis=1)
    return float(np.mean([reached[:, :depth].mean() for depth in _DEPTHS_OF_SPLIT if depth <= budget]))


def all_anchors(anchors: int) -> dict[int, int]:
    """Return the split of a budget that gives every anchor item a call, as far as the budget reaches."""
    return {1: anchors}


def anchors_for(budget: int, split: dict[int, int], anchors: int) -> int:
    """Return the number of anchors for a budget: the learnt split, interpolated between the measured budgets."""
    if not split:
        return min(max(1, budget // 2), anchors)
    budgets = sorted(split)
    share = np.interp(budget, budgets, [split[tried] / tried for tried in budgets])
    return int(np.clip(round(float(share) * budget), 1, min(anchors, budget)))
