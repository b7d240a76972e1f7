"""Results in quick precision on processors with and without bf16."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pgretrieval.errors import ConfigError
from pgretrieval.numerics import hardware
from pgretrieval.numerics.proxy_targets import best_similarities
from pgretrieval.types import TokenMatrix
from tests.support.vectors import unit


@pytest.fixture(params=[True, False], ids=["bf16", "float32"])
def processor(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """A processor that supports bf16, and one that does not; torch computes both anywhere."""
    monkeypatch.setattr(hardware, "multiplies_bf16", lambda: request.param)
    return bool(request.param)


def rows(count: int, seed: int) -> torch.Tensor:
    return torch.from_numpy(unit(np.random.default_rng(seed).standard_normal((count, 64))))


def test_the_format_follows_the_processor(processor: bool):
    assert hardware.quick(rows(3, 0)).dtype == (torch.bfloat16 if processor else torch.float32)


def test_targets_agree_with_float32(processor: bool):
    anchors, vectors = rows(30, 3), rows(500, 4).numpy()
    offsets = np.array([0, 100, 101, 500])
    expected = np.maximum.reduceat(anchors.numpy() @ vectors.T, offsets[:-1], axis=1).clip(min=0)
    np.testing.assert_allclose(best_similarities(anchors, TokenMatrix(vectors, offsets)).numpy(), expected, atol=4e-3)


def test_the_device_asked_for_is_taken():
    assert hardware.compute_device("cpu").type == "cpu"
    assert hardware.compute_device().type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("device", ["abacus", "cuda:x", "meta:one", ""])
def test_a_device_that_torch_does_not_find_is_refused(device: str):
    with pytest.raises(ConfigError, match=f"device '{device}' cannot be used"):
        hardware.compute_device(device)
