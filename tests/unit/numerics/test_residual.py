"""The residual codec compared with direct arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pgretrieval.numerics.bitpack import unpack
from pgretrieval.numerics.residual import ResidualCodec, fit_codec
from pgretrieval.types import Levels


def gaussian(rows: int = 4000, dim: int = 48, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed)) * 0.1


def test_bucket_counts_the_cutoffs_below_a_value() -> None:
    codec = ResidualCodec(4, 2, torch.tensor([-1.0, 0.0, 1.0]), torch.tensor([-2.0, -0.5, 0.5, 2.0]))
    packed = codec.encode(torch.tensor([[-5.0, -0.5, 0.5, 5.0]]))
    assert unpack(packed, 4, 2).tolist() == [[0, 1, 2, 3]]
    assert codec.decode(packed).tolist() == [[-2.0, -0.5, 0.5, 2.0]]


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("dim", [48, 50, 128])
def test_decode_gives_the_weight_of_each_bucket(bits: int, dim: int) -> None:
    residuals = gaussian(200, dim)
    codec = fit_codec(residuals, bits)
    buckets = np.searchsorted(codec.cutoffs.numpy(), residuals.numpy())
    np.testing.assert_array_equal(codec.decode(codec.encode(residuals)).numpy(), codec.weights.numpy()[buckets])


def test_quantile_levels_are_the_papers() -> None:
    # 0..1016 in equal steps: cut-offs at 1/4, 2/4, 3/4 and weights at 1/8, 3/8, 5/8, 7/8 of the range, rounded to steps of 7.
    codec = fit_codec(torch.arange(1017).float().reshape(-1, 1), 2, "quantile")
    assert codec.cutoffs.tolist() == [254.0, 508.0, 762.0]
    assert codec.weights.tolist() == [126.0, 378.0, 637.0, 889.0]


@pytest.mark.parametrize("levels", ["lloyd-max", "quantile"])
@pytest.mark.parametrize("bits", [1, 2, 4])
def test_weights_are_whole_steps(bits: int, levels: Levels) -> None:
    """The largest magnitude is 127 steps, and multiples of the step are exact in single precision."""
    for seed in range(20):
        weights = fit_codec(gaussian(seed=seed) * 1.37**seed, bits, levels).weights.double()
        steps = weights / (weights.abs().max() / 127)
        assert torch.equal(steps, steps.round())
        step = np.float32(weights.abs().max() / 127)
        assert float(step) * 127 == weights.abs().max()
        np.testing.assert_array_equal(steps.numpy().astype(np.float32) * step, weights.numpy().astype(np.float32))


def test_lloyd_max_reaches_the_known_optimum_of_a_normal_distribution() -> None:
    """Max (1960): one bit of a unit normal distribution decodes to ±0.7979, two bits to ±0.4528 and ±1.510."""
    normal = torch.randn(400_000, 1, generator=torch.Generator().manual_seed(1))
    np.testing.assert_allclose(fit_codec(normal, 1).weights, [-0.7979, 0.7979], atol=0.01)
    np.testing.assert_allclose(fit_codec(normal, 2).weights, [-1.510, -0.4528, 0.4528, 1.510], atol=0.02)


@pytest.mark.parametrize(("bits", "left"), [(1, 0.3634), (2, 0.1175), (4, 0.0095)])
def test_distortion_is_the_known_one_of_a_normal_distribution(bits: int, left: float) -> None:
    """Max (1960), table I: the share of the variance that remains as error, measured on values not used for the fit."""
    codec, test = fit_codec(gaussian(20_000, seed=4), bits), gaussian(20_000, seed=5)
    distortion = ((codec.decode(codec.encode(test)) - test) ** 2).mean() / (test**2).mean()
    assert float(distortion) == pytest.approx(left, rel=0.03)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_lloyd_max_errs_less_than_quantiles(bits: int) -> None:
    train, test = gaussian(seed=2), gaussian(seed=3)
    errors = {}
    for levels in ("lloyd-max", "quantile"):
        codec = fit_codec(train, bits, levels)  # type: ignore[arg-type]
        errors[levels] = float(((codec.decode(codec.encode(test)) - test) ** 2).mean())
    assert errors["lloyd-max"] < errors["quantile"]


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_constant_residuals_decode_to_themselves(bits: int) -> None:
    """The fit accepts equal quantiles: identical passages have no residual."""
    zeros = torch.zeros(10, 48)
    codec = fit_codec(zeros, bits)
    assert codec.decode(codec.encode(zeros)).abs().max() == 0
