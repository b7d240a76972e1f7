"""Postings from codes, compared with sets."""

from __future__ import annotations

import numpy as np
import pytest

from pgretrieval.errors import DimensionMismatchError, VectorError
from pgretrieval.index.coding import centroid_passage_pairs, postings_of
from pgretrieval.index.vectors import token_array, token_matrix


def test_postings_hold_each_passage_once_and_ascending() -> None:
    ids = np.array([4, 4, 2, 2, 9, 4], dtype=np.int32)
    pairs = centroid_passage_pairs(ids, np.array([0, 3, 6]), np.array([70, 30], dtype=np.int32))
    postings = postings_of(pairs)
    # passage 70 has centroids {4, 2}, passage 30 has {2, 9, 4}
    assert postings.centroid_ids.tolist() == [2, 4, 9]
    assert np.split(postings.passage_ids, postings.offsets[1:-1])[0].tolist() == [30, 70]
    assert postings.offsets.tolist() == [0, 2, 4, 5]


def test_large_ids_survive_the_packing() -> None:
    pairs = centroid_passage_pairs(np.array([2**18], dtype=np.int32), np.array([0, 1]), np.array([2**31 - 1], dtype=np.int32))
    postings = postings_of(pairs)
    assert (postings.centroid_ids.tolist(), postings.passage_ids.tolist()) == ([2**18], [2**31 - 1])


@pytest.mark.parametrize(
    ("vectors", "error", "told"),
    [
        ([[0.0] * 64], VectorError, "zero vector"),
        ([[1.0] * 63 + [float("nan")]], VectorError, "NaN"),
        ([[1.0] * 63 + [float("inf")]], VectorError, "infinity"),
        ([1.0] * 64, VectorError, r"shape \(64,\)"),
        (np.empty((0, 64)), VectorError, r"shape \(0, 64\)"),
        ([["a"]], VectorError, "not an array of numbers"),
        ([[1.0] * 65], DimensionMismatchError, "65 dimensions, but the collection has 64"),
    ],
)
def test_bad_vectors_are_refused_with_the_passage(vectors: object, error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=f"passage 'p'.*{told}|{told}.*passage 'p'"):
        token_array(vectors, "passage 'p'", 64)


@pytest.mark.parametrize("dim", [47, 1025])
def test_dimensions_outside_the_range(dim: int) -> None:
    with pytest.raises(DimensionMismatchError, match=str(dim)):
        token_array(np.ones((2, dim)), "the query", None)


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_rows_become_unit_whatever_their_magnitude(scale: float) -> None:
    vectors = np.random.default_rng(0).normal(size=(5, 64)).astype(np.float32) * np.float32(scale)
    np.testing.assert_allclose(np.linalg.norm(token_matrix([vectors]).vectors, axis=1), 1.0, atol=1e-5)
