"""Postings from codes, compared with sets."""

from __future__ import annotations

import numpy as np
import pytest

from pgretrieval.buckets import MAX_BUCKETS, PassageIds
from pgretrieval.errors import DimensionMismatchError, VectorError
from pgretrieval.index.coding import centroid_passage_pairs, merged, posting_codes_of, postings_of
from pgretrieval.index.vectors import token_array, token_matrix


def test_postings_hold_each_passage_once_and_ascending() -> None:
    ids = np.array([4, 4, 2, 2, 9, 4], dtype=np.int32)
    passages = PassageIds.of([(70, 0), (30, 0)])
    pairs = centroid_passage_pairs(ids, np.array([0, 3, 6]), passages)
    postings = postings_of(pairs)
    # passage 70 has centroids {4, 2}, passage 30 has {2, 9, 4}
    assert postings.centroid_ids.tolist() == [2, 4, 9]
    assert np.split(postings.passage_ids, postings.offsets[1:-1])[0].tolist() == [30, 70]
    assert postings.offsets.tolist() == [0, 2, 4, 5]


def test_postings_have_a_list_for_each_bucket() -> None:
    ids = np.array([4, 2, 4, 4], dtype=np.int32)
    passages = PassageIds.of([(70, 1), (30, 0), (50, 1)])
    postings = postings_of(centroid_passage_pairs(ids, np.array([0, 2, 3, 4]), passages))
    assert list(zip(postings.centroid_ids.tolist(), postings.buckets.tolist(), strict=True)) == [(2, 1), (4, 0), (4, 1)]
    assert postings.passage_ids.tolist() == [70, 30, 50, 70]
    assert postings.offsets.tolist() == [0, 1, 2, 4]


def test_large_numbers_survive_the_packing() -> None:
    passages = PassageIds.of([(2**31 - 1, MAX_BUCKETS - 1)])
    postings = postings_of(centroid_passage_pairs(np.array([2**20], dtype=np.int32), np.array([0, 1]), passages))
    assert (postings.centroid_ids.tolist(), postings.buckets.tolist()) == ([2**20], [MAX_BUCKETS - 1])
    assert postings.passage_ids.tolist() == [2**31 - 1]


def test_tokens_of_centroids_have_a_list_for_each_bucket() -> None:
    ids = np.array([4, 2, 4, 4], dtype=np.int32)
    passages = PassageIds.of([(70, 1), (30, 0), (50, 1)])
    residuals = np.arange(4, dtype=np.uint8).reshape(4, 1)
    whole = posting_codes_of(ids, np.array([0, 2, 3, 4]), passages, residuals)
    first = posting_codes_of(ids[:2], np.array([0, 2]), PassageIds.of([(70, 1)]), residuals[:2])
    rest = posting_codes_of(ids[2:], np.array([0, 1, 2]), PassageIds.of([(30, 0), (50, 1)]), residuals[2:])
    for tokens, order in ((whole, [50, 70]), (merged([first, rest]), [70, 50])):
        assert list(zip(tokens.centroid_ids.tolist(), tokens.buckets.tolist(), strict=True)) == [(2, 1), (4, 0), (4, 1)]
        assert tokens.passage_ids.tolist() == [70, 30, *order]
        assert dict(zip(tokens.passage_ids.tolist()[1:], tokens.residuals[1:, 0].tolist(), strict=True)) == {30: 2, 50: 3, 70: 0}


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
