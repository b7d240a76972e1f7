"""Benchmarks of a factorisation's parts: estimates compared with their formulas, and pages with their stored numbers."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from pgretrieval.anncur.selection import choose_anchors
from pgretrieval.anncur.solving import solve

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks import entities, factorised  # noqa: E402

RESULTS = sorted((ROOT / "benchmarks" / "results").glob("factorised-*.json"))
ANCHORS = np.array([7, 2, 11, 30])


@pytest.fixture
def scores() -> np.ndarray:
    """60 queries and 200 items, 12 directions, with noise."""
    rng = np.random.default_rng(0)
    return rng.standard_normal((60, 12)) @ rng.standard_normal((12, 200)) + 0.1 * rng.standard_normal((60, 200)) - 3


@pytest.mark.parametrize("stored", RESULTS, ids=lambda path: path.stem)
def test_page_is_that_of_the_stored_numbers(stored: Path) -> None:
    assert stored.with_suffix(".md").read_text(encoding="utf-8") == factorised.page(json.loads(stored.read_text(encoding="utf-8")))


def test_cur_is_its_formula(scores: np.ndarray) -> None:
    """c (C'C)^-1 C' R, where C has full column rank; itemCUR is the same with items as anchor queries."""
    rows, given = scores[:40], scores[40:, ANCHORS]
    some = rows[:, ANCHORS]
    expected = given @ np.linalg.solve(some.T @ some, some.T @ rows)
    np.testing.assert_allclose(factorised.cur(rows, ANCHORS, given), expected, atol=1e-9)
    np.testing.assert_allclose(factorised.cur(rows, ANCHORS, given)[:, ANCHORS], given, atol=1e-9)


def test_the_ridge_is_its_formula(scores: np.ndarray) -> None:
    rows, given = scores[:40], scores[40:, ANCHORS]
    some = rows[:, ANCHORS]
    ridge = (0.01 * np.linalg.norm(some, 2)) ** 2
    expected = given @ np.linalg.solve(some.T @ some + ridge * np.eye(4), some.T @ rows)
    np.testing.assert_allclose(factorised.ridged_cur(rows, ANCHORS, given), expected, atol=1e-9)


def test_a_centred_matrix_loses_and_regains_the_items_means(scores: np.ndarray) -> None:
    """An offset of each item changes estimates by that offset."""
    rows, given = scores[:40], scores[40:, ANCHORS]
    centred = rows - rows.mean(axis=0)
    some = centred[:, ANCHORS]
    expected = rows.mean(axis=0) + (given - rows[:, ANCHORS].mean(axis=0)) @ np.linalg.solve(some.T @ some, some.T @ centred)
    np.testing.assert_allclose(factorised.centred_cur(rows, ANCHORS, given), expected, atol=1e-9)
    offset = np.arange(200.0)
    moved = factorised.centred_cur(rows + offset, ANCHORS, given + offset[ANCHORS])
    np.testing.assert_allclose(moved, expected + offset, atol=1e-6)


def test_fixed_items_are_products_of_scores(scores: np.ndarray) -> None:
    """An item's vector has its scores with the anchor items as queries, a query's its scores of the anchor items."""
    of_items, given = scores[:4], scores[40:, ANCHORS]
    estimated = factorised.fixed_items(of_items, given)
    for query, item in ((0, 0), (3, 150), (19, 199)):
        assert estimated[query, item] == pytest.approx(sum(given[query, place] * of_items[place, item] for place in range(4)))


def test_anchors_and_the_best_by_estimate_are_scored(scores: np.ndarray) -> None:
    """Every call counts: four anchors and the best of the others, at most `cost` of all."""
    estimated, exact = scores[:5], scores[5:10]
    for cost in (3, 4, 20):
        shares = factorised.found(estimated, exact, ANCHORS, cost, 10)
        for query, share in enumerate(shares.tolist()):
            scored = set(ANCHORS[:cost].tolist())
            for item in np.argsort(-estimated[query]).tolist():
                if len(scored) < cost:
                    scored.add(item)
            assert share == pytest.approx(len(scored & set(np.argsort(-exact[query])[:10].tolist())) / 10)


def test_two_steps_with_all_anchors_are_cur(scores: np.ndarray) -> None:
    """With all anchors a search estimates by U, with fewer by the mean of normally distributed scores."""
    rows, exact = scores[:40], scores[40:]
    solved = solve(rows, partial(choose_anchors, count=20, selection="greedy", seed=0), 0)
    estimated = factorised.two_steps(solved, rows, exact, 20)
    np.testing.assert_allclose(estimated, exact[:, solved.anchors] @ solved.inverse @ rows)
    assert np.abs(factorised.two_steps(solved, rows, exact, 5) - estimated).max() > 1e-3


def test_ranks_are_counted_in_single_precision() -> None:
    """Items' means are one direction, which the centred matrix has not; noise below single precision counts for nothing."""
    rng = np.random.default_rng(0)
    scores = rng.standard_normal((50, 5)) @ rng.standard_normal((5, 80)) + 100 * rng.standard_normal(80)
    assert factorised.ranks(scores + 1e-9 * rng.standard_normal((50, 80))) == {
        "numpy's": 6, "above .001 of the first": 6, "numpy's, centred": 5, "above .001 of the first, centred": 5
    }  # fmt: skip


def test_auto_takes_what_held_out_queries_prefer() -> None:
    """The first of equals, among the selections that auto tries."""
    rows = [
        {"anchor_queries": 50, "seed": seed, "selection": name, "held_out": value}
        for seed, values in ((0, (0.5, 0.6, 0.9)), (1, (0.70001, 0.70002, 0.1)))
        for name, value in zip(factorised.SELECTIONS, values, strict=True)
    ]
    assert [row["selection"] for row in factorised.chosen_by_held_out(rows)] == ["top", "greedy"]


def test_generated_scores_of_items_are_of_the_same_matrix() -> None:
    """Items as queries score items by the directions that queries score them by."""
    known = entities.synthetic(30, 5, 400)
    chosen = np.array([3, 200])
    made = entities.synthetic_items(30, 5, 400, chosen)
    assert made.shape == (2, 400)
    basis = np.linalg.svd(known.scores[:30] - known.scores[:30].mean(axis=0), full_matrices=False)[2][:10]
    centred = made - made.mean(axis=1, keepdims=True)
    random = np.random.default_rng(5).standard_normal(made.shape) * centred.std()
    assert np.square(centred @ basis.T).sum() > 3 * np.square(random @ basis.T).sum()
