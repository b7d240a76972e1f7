"""MaxSim compared with a plain loop."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pgretrieval.numerics.maxsim import maxsim, maxsim_many, quick_segment_max, segment_max, segment_max_on_device


def oracle(query: np.ndarray, passages: list[np.ndarray]) -> list[float]:
    return [sum(max(float(q @ d) for d in passage) for q in query) for passage in passages]


def passages_of(lengths: list[int], dim: int = 8, seed: int = 0) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    arrays = [rng.normal(size=(n, dim)).astype(np.float32) for n in lengths]
    return arrays, np.concatenate(arrays), np.concatenate([[0], np.cumsum(lengths)])


def test_by_hand() -> None:
    query = np.array([[1, 0], [0, 1]], dtype=np.float32)
    vectors = np.array([[1, 0], [0.6, 0.8], [0, -1]], dtype=np.float32)
    # first passage: max(1, .6) + max(0, .8) = 1.8; second: 0 + -1 = -1
    np.testing.assert_allclose(maxsim(query, vectors, np.array([0, 2, 3])), [1.8, -1.0])


def test_against_the_loop() -> None:
    arrays, vectors, offsets = passages_of([3, 1, 7, 2])
    query = np.random.default_rng(1).normal(size=(5, 8)).astype(np.float32)
    np.testing.assert_allclose(maxsim(query, vectors, offsets), oracle(query, arrays), rtol=1e-5)


def test_many_queries_in_blocks_equal_one_by_one() -> None:
    """Blocks of tokens neither split a passage nor drop the last one."""
    lengths = np.random.default_rng(2).integers(1, 300, 150).tolist()
    _, vectors, offsets = passages_of(lengths)
    rng = np.random.default_rng(3)
    queries = [rng.normal(size=(n, 8)).astype(np.float32) for n in (1, 4, 9)]
    together = maxsim_many(queries, vectors, offsets)
    assert together.shape == (3, 150)
    for row, query in zip(together, queries, strict=True):
        np.testing.assert_allclose(row, maxsim(query, vectors, offsets), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("length", [8191, 8192, 8193, 20_000])
def test_a_passage_longer_than_a_block(length: int) -> None:
    _, vectors, offsets = passages_of([5, length, 5])
    query = vectors[:2]
    np.testing.assert_allclose(maxsim_many([query], vectors, offsets)[0], maxsim(query, vectors, offsets), rtol=1e-4)


def test_nothing_gives_nothing() -> None:
    empty, none = np.empty((0, 8), dtype=np.float32), np.array([0])
    assert maxsim(np.ones((2, 8), dtype=np.float32), empty, none).shape == (0,)
    assert maxsim_many([np.ones((2, 8), dtype=np.float32)], empty, none).shape == (1, 0)
    assert maxsim_many([], np.ones((3, 8), dtype=np.float32), np.array([0, 3])).shape == (0, 1)
    for found in (maxsim(np.ones((2, 8), dtype=np.float32), empty, none), maxsim_many([np.ones((2, 8), "f4")], empty, none)):
        assert found.dtype == np.float32


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_quick_maxima_are_those_above_zero(kind: torch.dtype) -> None:
    """Quick maxima clip at 0, keep values between 0 and 1, and order bf16 bits correctly."""
    similarity = torch.tensor([[1.0, 0.5, -2.0, -1.0], [0.0, -1.0, 0.25, 0.125]], dtype=kind)
    found = quick_segment_max(similarity, np.array([0, 2, 4]))
    assert found.dtype == torch.float32
    assert found.tolist() == segment_max_on_device(similarity, np.array([0, 2, 4])).clamp(min=0).tolist() == [[1, 0], [0, 0.25]]


def test_segment_max_keeps_the_best_of_each_passage() -> None:
    similarity = np.array([[1, 5, 2, 9], [0, -1, -2, -3]], dtype=np.float32)
    assert segment_max(similarity, np.array([0, 2, 4])).tolist() == [[5, 9], [0, -2]]
