"""Estimates from held-out queries, compared with products computed by definition."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from pgretrieval.anncur.inverse import REGULARISATIONS, Decomposed, Regularisation
from pgretrieval.anncur.selection import choose_anchors
from pgretrieval.anncur.solving import _held_out, informative_queries, solve, solve_best

choose = partial(choose_anchors, count=50, selection="greedy", seed=0)


def noisy(queries: int, items: int, rank: int, seed: int = 0) -> np.ndarray:
    """Scores with decaying directions, noise, and a mean far from zero."""
    rng = np.random.default_rng(seed)
    signal = (rng.standard_normal((queries, rank)) * np.exp(-np.arange(rank) / 15)) @ rng.standard_normal((rank, items))
    return signal + 0.2 * signal.std() * rng.standard_normal((queries, items)) - 2


def inverted(scores: np.ndarray, regularisation: Regularisation) -> np.ndarray:
    """(queries, items) -> (items, queries) by definition."""
    if regularisation.kind == "truncation":
        return np.linalg.pinv(scores, rcond=regularisation.strength)
    ridge = (regularisation.strength * np.linalg.norm(scores, 2)) ** 2
    return np.linalg.solve(scores.T @ scores + ridge * np.eye(scores.shape[1]), scores.T)


@pytest.mark.parametrize(("queries", "held"), [(10, 2), (16, 2), (17, 3), (100, 15), (300, 45), (1000, 100)])
def test_a_share_of_the_queries_is_held_out(queries: int, held: int) -> None:
    """The share of held-out queries has both bounds, and no query is on both sides."""
    one, other = _held_out(queries, 4)
    assert len(one) == held
    assert sorted([*one.tolist(), *other.tolist()]) == list(range(queries))
    assert one.tolist() == sorted(one.tolist())
    assert other.tolist() == sorted(other.tolist())
    assert one.tolist() == _held_out(queries, 4)[0].tolist()
    assert one.tolist() != _held_out(queries, 5)[0].tolist()


@pytest.mark.parametrize(("items", "depth"), [(2000, 100), (600, 60), (60, 6)])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_regularisation_is_that_which_held_out_queries_prefer(items: int, depth: int, seed: int) -> None:
    """The chosen regularisation has the best recall on held-out queries and, among equals, the least error; both are reported."""
    scores = noisy(120, items, 40, seed)
    held, kept = _held_out(120, seed)
    anchors = choose(scores[kept])
    tried = []
    for regularisation in REGULARISATIONS:
        estimated = scores[np.ix_(held, anchors)] @ inverted(scores[np.ix_(kept, anchors)], regularisation) @ scores[kept]
        found = [
            len({*np.argsort(-one)[:depth].tolist()} & {*np.argsort(-other)[:depth].tolist()}) / depth
            for one, other in zip(scores[held], estimated, strict=True)
        ]
        error = float(np.sqrt(np.mean((estimated - scores[held]) ** 2)))
        tried.append((round(float(np.mean(found)), 4), -error, regularisation))
    recall, error, chosen = max(tried, key=lambda one: one[:2])
    solved = solve(scores, choose, seed)
    assert solved.regularisation == chosen
    assert (solved.recall, solved.error) == pytest.approx((recall, -error), abs=1e-4)
    assert solved.anchors.tolist() == choose(scores).tolist()
    np.testing.assert_allclose(solved.inverse, inverted(scores[:, solved.anchors], chosen), atol=1e-9)
    np.testing.assert_array_equal(solved.intersection, scores[:, solved.anchors])


@pytest.mark.parametrize(("popularity", "seed"), [(0, 0), (0, 1), (3, 0), (3, 1)])
def test_the_choice_that_searches_find_more_with_is_taken(popularity: float, seed: int) -> None:
    """Of several choices of anchors the one with which searches find the most for held-out queries, the first of equals."""
    scores = noisy(80, 900, 25, seed)
    scores += popularity * scores.std() * np.random.default_rng(seed).standard_normal(900)
    choices = [
        partial(choose_anchors, count=40, selection=selection, seed=seed) for selection in ("random", "greedy", "top", "top")
    ]
    alone = [solve(scores, each, seed) for each in choices]
    place, solved = solve_best(scores, choices, seed)
    expected = max(range(4), key=lambda number: (alone[number].searched, -number))
    assert place == expected
    assert len({one.searched for one in alone}) == 3
    assert (solved.anchors.tolist(), solved.split) == (alone[place].anchors.tolist(), alone[place].split)
    assert (place == 2) == bool(popularity)


def test_informative_queries_are_judged_relative_to_their_scores() -> None:
    """A query counts as constant only if its scores differ by no more than rounding, relative to their size."""
    scores = np.array([[0, 0, 0], [1e12, 1e12 + 1e-3, 1e12], [1e-12, 3e-12, 2e-12], [5, 5, 5], [-1e6, -1e6, -1e6 + 0.1]])
    assert informative_queries(scores).tolist() == [2, 4]


def test_a_matrix_of_zeros_has_an_inverse() -> None:
    """A matrix of zeros has an inverse without division by zero."""
    zeros = Decomposed(np.zeros((5, 3)))
    for regularisation in REGULARISATIONS:
        assert not zeros.inverse(regularisation).any()
        assert zeros.rank(regularisation) == 0
    assert zeros.condition == float("inf")
    assert Decomposed(np.diag([6.0, 3.0, 1.5])).condition == 4
