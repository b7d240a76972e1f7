"""Residual codec: token vector = centroid + one of 2**bits levels per dimension (ColBERTv2, section 3.3)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pgretrieval.numerics.bitpack import byte_table, pack, packed_width, values_per_byte
from pgretrieval.types import Levels

_FIT_VALUES = 2**22  # residual coordinates to fit the levels on; more change the fit by less than 1e-3
_LLOYD_ROUNDS = 200
_STEPS = 127  # of the largest weight
_STEP_BITS = 16  # of precision, so that a multiple of the step is exact in float32


@dataclass(frozen=True, slots=True)
class ResidualCodec:
    """Scalar quantiser shared by all dimensions.

    `cutoffs` is (2**bits - 1,) and ascending: a coordinate x falls into the bucket that counts the cutoffs below x.
    `weights` is (2**bits,): the value a bucket decodes to. All are whole multiples of a 127th of the largest magnitude, so that SQL
    looks them up in a table of bytes.
    """

    dim: int
    bits: int
    cutoffs: Tensor
    weights: Tensor

    @property
    def width(self) -> int:
        """Bytes of one token."""
        return packed_width(self.dim, self.bits)

    def encode(self, residuals: Tensor) -> Tensor:
        """(tokens, dim) residuals -> (tokens, width) uint8."""
        buckets = torch.bucketize(residuals.contiguous(), self.cutoffs.to(residuals.device))
        return pack(buckets.to(torch.uint8), self.bits)

    def table(self) -> Tensor:
        """(256, values per byte) float32: residual coordinates of each packed byte."""
        return torch.from_numpy(byte_table(self.weights.numpy(), self.bits))

    def decode(self, packed: Tensor) -> Tensor:
        """(tokens, width) uint8 -> (tokens, dim) float32 residuals."""
        return self.table()[packed.long()].flatten(1)[:, : self.dim]


def fit_codec(residuals: Tensor, bits: int, levels: Levels = "lloyd-max") -> ResidualCodec:
    """Fit the levels on (tokens, dim) held-out residuals, all dimensions pooled.

    `quantile` is the paper's choice: cut-offs and weights at even quantiles. `lloyd-max` (default) minimises the mean squared
    error instead; at equal bytes it keeps more of the exact ranking (docs/design/codec.md).
    """
    values_per_byte(bits)
    pooled = _pooled_sorted(residuals)
    cutoffs, weights = _quantiles(pooled, bits)
    if levels == "lloyd-max":
        weights = _in_steps(_lloyd_max(pooled, weights))
        cutoffs = (weights[1:] + weights[:-1]) / 2
    else:
        weights = _in_steps(weights)
    return ResidualCodec(residuals.shape[1], bits, cutoffs.float().contiguous(), weights.float().contiguous())


def _pooled_sorted(residuals: Tensor) -> Tensor:
    flat = residuals.flatten().double()
    if len(flat) > _FIT_VALUES:
        flat = flat[:: -(-len(flat) // _FIT_VALUES)]
    return flat.sort().values


def _quantiles(ordered: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Quantiles i/2^b as cut-offs and (i + 1/2)/2^b as weights (the paper's buckets)."""
    buckets = 2**bits
    at = torch.arange(1, 2 * buckets, dtype=torch.float64) / (2 * buckets)
    values = ordered[(at * (len(ordered) - 1)).round().long()]
    return values[1::2], values[::2]


def _lloyd_max(ordered: Tensor, weights: Tensor) -> Tensor:
    """Weights after alternating nearest-level cut-offs and bucket means until convergence (Lloyd 1982)."""
    sums = torch.cat([ordered.new_zeros(1), ordered.cumsum(0)])
    for _ in range(_LLOYD_ROUNDS):
        cutoffs = (weights[1:] + weights[:-1]) / 2
        edges = torch.cat(
            [
                torch.zeros(1, dtype=torch.long),
                torch.searchsorted(ordered, cutoffs, right=True),
                torch.tensor([len(ordered)]),
            ]
        )
        counts = edges.diff()
        means = sums[edges].diff() / counts.clamp(min=1)
        moved = torch.where(counts > 0, means, weights)
        if torch.allclose(moved, weights, rtol=0, atol=1e-7):
            break
        weights = moved
    return weights


def _in_steps(weights: Tensor) -> Tensor:
    """Round to whole multiples of a step, -127 to 127 times; the largest magnitude is 127 steps."""
    mantissa, exponent = torch.frexp(weights.abs().max() / _STEPS)
    step = torch.ldexp(torch.ceil(mantissa * 2**_STEP_BITS) / 2**_STEP_BITS, exponent)
    return torch.round(weights / step) * step if step else weights
