"""Item vectors fitted to scores of some pairs (AXN)."""

from __future__ import annotations

import numpy as np
import pytest

from pgretrieval.anncur.estimate import QueryModel
from pgretrieval.anncur.sparse import SparseScores, fit, item_vectors, pairs_of, random_pairs


def low_rank(queries: int, items: int, rank: int, noise: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Scores, and item vectors that a retriever could have: the true ones, disturbed."""
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((items, rank))
    scores = rng.standard_normal((queries, rank)) @ vectors.T
    scores += noise * scores.std() * rng.standard_normal(scores.shape)
    return scores, vectors + 0.5 * rng.standard_normal(vectors.shape)


def some(scores: np.ndarray, per_query: int) -> SparseScores:
    items, queries = random_pairs(scores.shape[1], len(scores), per_query, 0)
    return SparseScores(items, queries, scores[queries, items])


def test_a_matrix_of_low_rank_is_recovered_from_a_third_of_its_scores() -> None:
    """So are the scores that the fit has not seen."""
    scores, initial = low_rank(queries=60, items=200, rank=5)
    observed = some(scores, 66)
    fitted = fit(initial, observed, 60, seed=0)
    estimated = fitted.queries @ item_vectors(initial, fitted.queries, observed, fitted.ridge).T
    assert np.sqrt(np.mean((estimated - scores) ** 2)) < 0.01 * scores.std()
    assert fitted.error < 0.02 * scores.std()
    assert fitted.recall > 0.95


@pytest.mark.parametrize("per_query", [3, 30])
def test_item_vectors_are_least_squares_with_a_ridge_towards_the_initial_ones(per_query: int) -> None:
    """By normal equations, one item at a time; an item without scores keeps its vector."""
    scores, initial = low_rank(queries=20, items=90, rank=6, noise=0.2)
    observed = some(scores, per_query)
    vectors = np.random.default_rng(1).standard_normal((20, 6))
    found = item_vectors(initial, vectors, observed, 0.3)
    strength = 0.3 * np.mean(np.sum(vectors**2, axis=1))
    for item in range(90):
        own = vectors[observed.queries[observed.items == item]]
        right = own.T @ scores[observed.queries[observed.items == item], item] + strength * initial[item]
        assert found[item] == pytest.approx(np.linalg.solve(own.T @ own + strength * np.eye(6), right), abs=1e-9)
    unscored = np.setdiff1d(np.arange(90), observed.items)
    assert len(unscored) > 0 or per_query == 30
    assert (found[unscored] == initial[unscored]).all()


def test_a_query_vector_is_the_regression_on_what_was_scored() -> None:
    """With exact scores of more items than dimensions it is the pseudo-inverse's."""
    rng = np.random.default_rng(2)
    vectors, own = rng.standard_normal((100, 5)), rng.standard_normal(100)
    model = QueryModel(rng.standard_normal((40, 5)), 0.0)
    assert model.of_items(vectors[:30], own[:30]) == pytest.approx(np.linalg.pinv(vectors[:30]) @ own[:30], abs=1e-6)


def test_rounds_find_more_than_a_rerank_of_as_many_calls() -> None:
    """The retriever's own query vectors are disturbed as its item vectors are; all methods score 60 items."""
    scores, initial = low_rank(queries=140, items=1000, rank=12, noise=0.05)
    observed = some(scores[:100], 60)
    fitted = fit(initial, observed, 100, seed=0)
    vectors = item_vectors(initial, fitted.queries, observed, fitted.ridge)
    model = QueryModel(fitted.queries, fitted.error**2)
    rng = np.random.default_rng(3)
    shares = []
    for row in scores[100:]:
        true = np.linalg.lstsq(initial, row, rcond=None)[0]
        guess = true + 0.5 * true.std() * rng.standard_normal(len(true))
        reranked = np.argsort(-(initial @ guess))[:60]
        seen: list[int] = []
        for _ in range(5):
            estimated = vectors @ model.of_items(vectors[seen], row[seen])
            estimated[seen] = -np.inf
            seen += np.argsort(-estimated)[:12].tolist()
        best = np.argsort(-row)[:10]
        shares.append((np.isin(best, seen).mean(), np.isin(best, reranked).mean()))
    rounds, rerank = np.mean(shares, axis=0)
    assert rounds > rerank + 0.1
    assert rounds > 0.85


def test_pairs_are_drawn_by_seed_and_none_twice() -> None:
    items, queries = random_pairs(50, 7, 20, 3)
    assert len(set(zip(items.tolist(), queries.tolist(), strict=True))) == 140
    assert (np.bincount(queries) == 20).all()
    assert (items == random_pairs(50, 7, 20, 3)[0]).all()
    assert (items != random_pairs(50, 7, 20, 4)[0]).any()
    assert len(random_pairs(5, 7, 20, 3)[0]) == 35
    assert [found.tolist() for found in pairs_of([[4, 2], [], [9]])] == [[4, 2, 9], [0, 0, 2]]
