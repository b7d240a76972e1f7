"""Compiled packing of residuals, compared with the codec of torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pgretrieval.numerics import packing
from pgretrieval.numerics.packing import pack_residuals
from pgretrieval.numerics.residual import fit_codec

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("dim", [1, 3, 16, 50, 128])
def test_bytes_are_those_of_the_codec(dim: int, bits: int, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """All code widths, and dimensions that do not fill a byte or a vector register."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(packing, "_TOKENS_AT_LEAST", 10)
    vectors, centroids = RNG.normal(size=(77, dim)).astype(np.float32), RNG.normal(size=(9, dim)).astype(np.float32)
    ids = RNG.integers(0, 9, 77).astype(np.int32)
    residuals = torch.from_numpy(vectors - centroids[ids])
    codec = fit_codec(torch.randn(4000, dim, generator=torch.Generator().manual_seed(1)), bits)
    found = pack_residuals(vectors, centroids, ids, codec.cutoffs.numpy(), bits)
    np.testing.assert_array_equal(found, codec.encode(residuals).numpy())


def test_a_residual_at_a_cut_off_is_in_the_bucket_below() -> None:
    cutoffs = np.array([-0.5, 0.0, 0.5], dtype=np.float32)
    vectors = np.array([[-0.5, -0.25, 0.0, 0.5], [-1, 0.25, 0.75, -0.0]], dtype=np.float32)
    found = pack_residuals(vectors, np.zeros((1, 4), dtype=np.float32), np.zeros(2, dtype=np.int32), cutoffs, 2)
    assert found.tolist() == [[0b00_01_01_10], [0b00_10_11_01]]


def test_no_tokens_have_no_bytes() -> None:
    nothing = np.empty((0, 20), dtype=np.float32)
    found = pack_residuals(nothing, nothing, np.empty(0, dtype=np.int32), np.zeros(1, dtype=np.float32), 1)
    assert found.shape == (0, 3)
