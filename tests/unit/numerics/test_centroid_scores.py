"""Scores of centroids, the best of them and MaxSim over them, compared with numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pgretrieval.errors import StorageError
from pgretrieval.numerics import centroid_scores
from pgretrieval.numerics.centroid_scores import CentroidScores, PassageCentroids
from tests.support.scores import scores_of

RNG = np.random.default_rng(0)


def some(query_tokens: int, centroids: int, dim: int) -> tuple[np.ndarray, np.ndarray]:
    return RNG.normal(size=(query_tokens, dim)).astype(np.float32), RNG.normal(size=(centroids, dim)).astype(np.float32)


@pytest.mark.parametrize("dim", [1, 48, 50, 128])
@pytest.mark.parametrize(("query_tokens", "centroids"), [(1, 1), (16, 64), (17, 65), (40, 1000)])
def test_scores_are_inner_products(query_tokens: int, centroids: int, dim: int) -> None:
    query, rows = some(query_tokens, centroids, dim)
    ids = RNG.integers(0, centroids, 30).astype(np.int32)
    np.testing.assert_allclose(CentroidScores(query, rows).of(ids), (query @ rows.T)[:, ids], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("count", [1, 7, 20, 64, 1000])
@pytest.mark.parametrize("threads", [1, 2])
def test_the_best_are_those_of_a_full_sort(count: int, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways, by the maxima of blocks and by sorting, find them in order."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(centroid_scores, "_BLOCKS_AT_LEAST", 5)
    query, rows = some(23, 4001, 32)
    scores = CentroidScores(query, rows)
    ids, values = scores.best(count)
    everything = scores.of(np.arange(4001, dtype=np.int32))
    np.testing.assert_array_equal(ids, np.argsort(-everything, axis=1, kind="stable")[:, :count])
    np.testing.assert_array_equal(values, np.take_along_axis(everything, ids, axis=1))


@pytest.mark.parametrize("count", [1, 3, 65, 200])
def test_ties_go_to_the_smaller_id(count: int) -> None:
    ids, values = scores_of(np.full((2, 1000), 0.5)).best(count)
    assert ids.tolist() == [list(range(count))] * 2
    assert (values == 0.5).all()


def centroids_of(offsets: list[int], ids: list[int], centroids: int) -> PassageCentroids:
    return PassageCentroids.of(
        np.arange(len(offsets) - 1, dtype=np.int32), np.array(offsets), np.array(ids, dtype=np.int32), centroids
    )


@pytest.mark.parametrize("centroids", [300, 2**16, 2**16 + 1])
@pytest.mark.parametrize("threads", [1, 2])
def test_maxsim_is_the_sum_of_the_best(threads: int, centroids: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids of two bytes and of four find the same scores, those of the last centroid too."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(centroid_scores, "_TOKENS_AT_LEAST", 100)
    query, rows = some(35, centroids, 20)
    ids = np.append(RNG.integers(0, centroids, 1999), centroids - 1)
    offsets = np.sort(np.append(RNG.choice(np.arange(1, 2000), 30, replace=False), [0, 2000]))
    best = np.maximum.reduceat((query @ rows.T)[:, ids], offsets[:-1], axis=1)
    found = CentroidScores(query, rows).maxsim(centroids_of(offsets.tolist(), ids.tolist(), centroids))
    np.testing.assert_allclose(found, np.maximum(best, 0).sum(axis=0), rtol=1e-5)


def test_passages_come_in_any_order_and_from_several_places() -> None:
    scores = scores_of([[0.5, 0.25, 0.125], [0.0, 0.0, 1.0]])
    first, second = centroids_of([0, 1, 3], [0, 1, 2], 3), centroids_of([0, 1], [1], 3)
    both = first.followed_by(second).some(np.array([2, 0, 1]))
    assert both.passage_ids.tolist() == [0, 0, 1]
    assert scores.maxsim(both).tolist() == [0.25, 0.5, 1.25]


def test_a_passage_without_tokens_scores_nothing() -> None:
    scores = scores_of([[0.5, 0.25]])
    assert scores.maxsim(centroids_of([0, 1, 1, 2], [1, 0], 2)).tolist() == [0.25, 0.0, 0.5]
    assert scores.maxsim(centroids_of([0], [], 2)).tolist() == []


@pytest.mark.parametrize("foreign", [-1, 2])
def test_a_centroid_that_is_not_there_is_named(foreign: int) -> None:
    with pytest.raises(StorageError, match=f"{foreign}.*the codebook has 2"):
        centroids_of([0, 1], [foreign], 2)
