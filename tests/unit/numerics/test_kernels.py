"""Compiled MaxSim compared with numpy: all code widths, dimensions and counts that do not fill a vector register, invalid codes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pgretrieval.errors import StorageError
from pgretrieval.numerics import kernels, llvm
from pgretrieval.numerics.kernels import CodeScorer, best_of_vectors, by_lanes

RNG = np.random.default_rng(0)
ROWS = 5


def expected_best(query: np.ndarray, vectors: np.ndarray, owners: np.ndarray) -> np.ndarray:
    similarity = query.astype(np.float64) @ vectors.astype(np.float64).T
    return np.stack([np.where(owners == row, similarity, -np.inf).max(axis=1) for row in range(ROWS)], axis=1)


def found_best(best: np.ndarray, query: np.ndarray) -> np.ndarray:
    return best.reshape(ROWS, -1)[:, : len(query)].T


def codes(dim: int, bits: int, tokens: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    per_byte = 8 // bits
    centroids = RNG.normal(size=(20, dim)).astype(np.float32)
    table = (0.3 * RNG.normal(size=(256, per_byte))).astype(np.float32)
    ids = RNG.integers(0, 20, tokens).astype(np.int32)
    return centroids, table, ids, RNG.integers(0, 256, (tokens, -(-dim // per_byte))).astype(np.uint8)


@pytest.mark.parametrize("unit", [True, False])
@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("dim", [1, 16, 33, 50, 128])
def test_codes_score_as_their_decoded_vectors(dim: int, bits: int, unit: bool):
    for tokens, query_tokens in ((1, 1), (16, 16), (37, 17), (100, 40)):
        centroids, table, ids, packed = codes(dim, bits, tokens)
        vectors = centroids[ids] + table[packed].reshape(tokens, -1)[:, :dim]
        if unit:
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        query = RNG.normal(size=(query_tokens, dim)).astype(np.float32)
        owners = RNG.integers(0, ROWS, tokens).astype(np.int32)
        best = CodeScorer(centroids, table, unit=unit).best(by_lanes(query), ids, packed, owners, ROWS)
        np.testing.assert_allclose(found_best(best, query), expected_best(query, vectors, owners), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dim", [1, 33, 128])
def test_vectors_score_as_they_are(dim: int):
    for tokens, query_tokens in ((1, 1), (4, 16), (37, 17)):
        vectors = RNG.normal(size=(tokens, dim)).astype(np.float32)
        query = RNG.normal(size=(query_tokens, dim)).astype(np.float32)
        owners = RNG.integers(0, ROWS, tokens).astype(np.int32)
        best = best_of_vectors(by_lanes(query), vectors, owners, ROWS)
        np.testing.assert_allclose(found_best(best, query), expected_best(query, vectors, owners), rtol=1e-5, atol=1e-5)


def test_lanes_that_are_left_over_score_nothing():
    query = RNG.normal(size=(3, 50)).astype(np.float32)
    best = best_of_vectors(by_lanes(query), query, np.zeros(3, dtype=np.int32), 1)
    assert best.shape == (1, 1, llvm.LANES)
    assert (best[:, :, 3:] == 0).all()


def test_nothing_leaves_every_row_empty():
    centroids, table, ids, packed = codes(50, 4, 8)
    query = by_lanes(RNG.normal(size=(3, 50)).astype(np.float32))
    none = np.empty(0, dtype=np.int32)
    assert (CodeScorer(centroids, table, unit=True).best(query, ids[:0], packed[:0], none, 2) == -np.inf).all()
    assert (best_of_vectors(query, np.empty((0, 50), dtype=np.float32), none, 2) == -np.inf).all()


def test_arrays_that_are_not_contiguous_are_read_in_order():
    centroids, table, ids, packed = codes(50, 4, 40)
    query, owners = by_lanes(RNG.normal(size=(3, 50)).astype(np.float32)), RNG.integers(0, ROWS, 40).astype(np.int32)
    scorer = CodeScorer(centroids, table, unit=True)
    whole = scorer.best(query, ids[::2].copy(), packed[::2].copy(), owners[::2].copy(), ROWS)
    np.testing.assert_array_equal(scorer.best(query, ids[::2], packed[::2], owners[::2], ROWS), whole)


@pytest.mark.parametrize("wrong", [-1, 20, 2**31 - 1])
def test_an_invalid_centroid_raises(wrong: int):
    """An invalid centroid number raises an error instead of an out-of-bounds read."""
    centroids, table, ids, packed = codes(50, 4, 8)
    ids[5] = wrong
    with pytest.raises(StorageError, match=str(wrong)):
        CodeScorer(centroids, table, unit=True).best(by_lanes(centroids[:2]), ids, packed, ids * 0, ROWS)


def test_residuals_of_another_width_are_an_error():
    centroids, table, ids, packed = codes(50, 4, 8)
    for residuals in (packed[:, 1:], packed[1:]):
        with pytest.raises(StorageError, match="25 bytes each"):
            CodeScorer(centroids, table, unit=True).best(by_lanes(centroids[:2]), ids, residuals, ids * 0, ROWS)


def test_processors_without_avx512_compute_the_same(monkeypatch: pytest.MonkeyPatch):
    """Code compiled for fewer instructions, as torch's setting demands, gives equal results."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    assert "+avx512" not in llvm._features()
    centroids, table, ids, packed = codes(50, 4, 100)
    query, owners = by_lanes(RNG.normal(size=(9, 50)).astype(np.float32)), RNG.integers(0, ROWS, 100).astype(np.int32)
    scorer = CodeScorer(centroids, table, unit=True)
    wide = scorer.best(query, ids, packed, owners, ROWS)
    scorer._score = kernels._code_kernel.__wrapped__(50, 2, True)
    np.testing.assert_allclose(scorer.best(query, ids, packed, owners, ROWS), wide, rtol=1e-5)
