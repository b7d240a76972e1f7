"""The compiled search of the nearest centroid, compared with numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pgretrieval.numerics import nearest as compiled
from pgretrieval.numerics.nearest import Centroids

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("count", "centroids", "dim"), [(1, 1, 3), (5, 17, 50), (6, 16, 1), (1000, 128, 128), (37, 300, 48)])
def test_the_nearest_is_that_of_all_products(
    count: int, centroids: int, dim: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(compiled, "_VECTORS_AT_LEAST", 10)
    vectors, rows = RNG.normal(size=(count, dim)).astype(np.float32), RNG.normal(size=(centroids, dim)).astype(np.float32)
    handicaps = (rows**2).sum(axis=1) / 2
    np.testing.assert_array_equal(Centroids(rows).nearest(vectors), (vectors @ rows.T).argmax(axis=1))
    np.testing.assert_array_equal(Centroids(rows, handicaps).nearest(vectors), (vectors @ rows.T - handicaps).argmax(axis=1))


def test_some_rows_in_any_order() -> None:
    vectors, rows = RNG.normal(size=(50, 20)).astype(np.float32), RNG.normal(size=(30, 20)).astype(np.float32)
    chosen = np.array([40, 3, 3, 17], dtype=np.int32)
    closeness, positions = Centroids(rows).compare(vectors, chosen)
    products = vectors[chosen] @ rows.T
    np.testing.assert_array_equal(positions, products.argmax(axis=1))
    np.testing.assert_allclose(closeness, products.max(axis=1), rtol=1e-5)


def test_the_first_of_equal_centroids_is_chosen() -> None:
    row = RNG.normal(size=(1, 20)).astype(np.float32)
    assert Centroids(np.repeat(row, 40, axis=0)).nearest(row).tolist() == [0]
    assert Centroids(np.concatenate([-row] * 20 + [row] * 20)).nearest(row).tolist() == [20]


def test_negative_products_have_a_greatest_one_too() -> None:
    """Lanes that are left over are never chosen."""
    vectors = -np.ones((3, 8), dtype=np.float32)
    rows = np.array([[3], [1], [2]], dtype=np.float32) * np.ones(8, dtype=np.float32)
    assert Centroids(rows).nearest(vectors).tolist() == [1, 1, 1]


def test_nothing_has_no_nearest() -> None:
    assert Centroids(np.ones((2, 4), dtype=np.float32)).nearest(np.empty((0, 4), dtype=np.float32)).tolist() == []
