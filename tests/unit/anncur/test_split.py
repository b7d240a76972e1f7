"""Split of a budget between anchors and candidates, compared with a simulated search for each held-out query."""

from __future__ import annotations

import numpy as np
import pytest

from pgretrieval.anncur.inverse import Decomposed, Regularisation
from pgretrieval.anncur.selection import pivots
from pgretrieval.anncur.solving import anchors_for, learn_split

SHARES = [tenth / 10 for tenth in range(1, 10)]


def query_vector(anchor_scores: np.ndarray, own: np.ndarray, error: float) -> np.ndarray:
    """Mean of normally distributed anchor scores, given the first `len(own)` of a query, each with that error."""
    count = len(own)
    mean = anchor_scores.mean(axis=0)
    covariance = np.cov(anchor_scores.T, bias=True)
    known = covariance[:count, :count] + error**2 * np.eye(count)
    return mean + covariance[:, :count] @ np.linalg.solve(known, own - mean[:count])


def found_by_search(
    scores: np.ndarray, anchors: np.ndarray, embeddings: np.ndarray, vector: np.ndarray, budget: int, count: int
) -> float:
    """Score `count` anchors of one query, then the best by estimate: mean share of its 1, 10 and 100 best that were scored."""
    scored = set(anchors[:count].tolist())
    for item in np.argsort(-(vector @ embeddings)).tolist():
        if len(scored) >= budget:
            break
        scored.add(item)
    best = np.argsort(-scores).tolist()
    shares = [len(scored & set(best[:depth])) / min(depth, len(best)) for depth in (1, 10, 100) if depth <= budget]
    return sum(shares) / len(shares)


def played_through(
    told: np.ndarray, anchors: np.ndarray, inverse: np.ndarray, kept: np.ndarray, held: np.ndarray, error: float
) -> tuple[dict[int, int], list[float]]:
    """Reference implementation of `learn_split`."""
    items, embeddings, split, best = told.shape[1], inverse @ told[kept], {}, []
    for budget in (10, 20, 50, 100, 200, 500, 1000, 2000):
        if budget >= items and split:
            break
        found = {}
        for count in {min(max(1, round(share * budget)), len(anchors)) for share in SHARES}:
            recalls = []
            for row in told[held]:
                own = row[anchors[:count]]
                vector = own if count == len(anchors) else query_vector(told[np.ix_(kept, anchors)], own, error)
                recalls.append(found_by_search(row, anchors, embeddings, vector, budget, count))
            found[count] = round(float(np.mean(recalls)), 4)
        split[budget] = min(count for count in found if found[count] == max(found.values()))
        best.append(max(found.values()))
    return split, best


@pytest.mark.parametrize(("items", "rank", "count"), [(600, 25, 60), (200, 12, 30), (1500, 40, 250), (8, 3, 5)])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_split_finds_most_in_searches_of_its_budget(items: int, rank: int, count: int, seed: int) -> None:
    """The learnt share finds the most in searches of its budget and, among equals, is the smallest."""
    rng = np.random.default_rng(seed)
    told = (rng.standard_normal((90, rank)) * np.exp(-np.arange(rank) / 12)) @ rng.standard_normal((rank, items))
    told += 0.2 * told.std() * rng.standard_normal(told.shape) - 3
    kept, held = np.arange(70), np.arange(70, 90)
    anchors = pivots(told[kept], count)
    inverse = Decomposed(told[np.ix_(kept, anchors)]).inverse(Regularisation("ridge", 0.02))
    expected, best = played_through(told, anchors, inverse, kept, held, 0.3)
    split, searched = learn_split(told, anchors, inverse, kept, held, 0.3)
    assert split == expected
    assert searched == pytest.approx(np.mean(best), abs=1e-4)


def test_without_a_split_half_of_the_calls_go_to_anchors() -> None:
    """Without a learnt split, half of the budget is spent on anchors, at most their number."""
    assert [anchors_for(budget, {}, 7) for budget in (1, 2, 3, 8, 13, 14, 100)] == [1, 1, 1, 4, 6, 7, 7]


def test_between_budgets_the_share_is_in_proportion() -> None:
    """Shares, not counts, are interpolated linearly between budgets and rounded."""
    split = {10: 4, 100: 50, 200: 40}
    expected = {1: 1, 5: 2, 9: 4, 10: 4, 55: 25, 64: 29, 100: 50, 150: 52, 200: 40, 300: 60, 399: 80, 1000: 80}
    # 64: .4 + .1 * 54 / 90 = .46, of 64 calls 29.4; 150: (.5 + .2) / 2 = .35, of 150 calls 52.5; 300: .2, as for 200.
    assert {budget: anchors_for(budget, split, 80) for budget in expected} == expected
    assert anchors_for(3, {10: 10}, 80) == 3
    assert anchors_for(1, {10: 1}, 80) == 1
