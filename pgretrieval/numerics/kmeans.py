"""Seeded k-means, spherical for unit vectors, in two levels for many centroids (ColBERTv2 section 3.3)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pgretrieval.numerics.assignment import CentroidIndex, means, quickly_nearest
from pgretrieval.types import Tick

_FLAT_UP_TO = 1024  # centroids; plain Lloyd up to this number
_FLAT_ROUNDS = 8
_GROUP_ROUNDS = 5
_REFINE_ROUNDS = 3
_TOKENS_PER_CENTROID_AT_LEAST = 4
_HEAD_SAMPLE = 128  # tokens per head that train the first level


def centroid_count(tokens: int) -> int:
    """Return 2^floor(log2(16 * sqrt(tokens))), as in the paper, but at most a quarter of the tokens."""
    wanted = min(16 * math.sqrt(tokens), tokens / _TOKENS_PER_CENTROID_AT_LEAST)
    return 2 ** int(math.log2(wanted)) if wanted >= 1 else 1


def sample_passage_count(passages: int) -> int:
    """Return the number of passages whose tokens train the centroids: 1 + 16 * sqrt(120 * passages), at most all."""
    return min(1 + int(16 * math.sqrt(120 * passages)), passages)


def train_centroids(sample: Tensor, count: int, seed: int, tick: Tick | None = None, *, unit: bool = True) -> Tensor:
    """(tokens, dim) vectors, of length one if `unit` -> (at most count, dim) centroids, the same.

    Fewer come back where the sample has fewer distinct vectors. Same sample, count and seed give the same centroids.
    `tick` is told about each finished step.
    """
    tick = tick or _silent
    generator = torch.Generator().manual_seed(seed)
    if count <= _FLAT_UP_TO:
        centroids = _lloyd(sample, count, _FLAT_ROUNDS, generator, unit)
        tick(1, 1)
    else:
        centroids = _two_levels(sample, count, generator, tick, unit)
    return _distinct(centroids)


def _distinct(vectors: Tensor) -> Tensor:
    rows: Tensor = torch.unique(vectors, dim=0)
    return rows


def _silent(_done: int, _steps: int) -> None:
    pass


def _lloyd(vectors: Tensor, count: int, rounds: int, generator: torch.Generator, unit: bool) -> Tensor:
    centroids = _starting_points(vectors, count, generator)
    for _ in range(rounds):
        centroids = means(vectors, quickly_nearest(vectors, centroids, unit=unit), centroids, unit=unit)
    return centroids


def _starting_points(vectors: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Return `count` random vectors, or the distinct ones among them."""
    drawn = vectors[torch.randperm(len(vectors), generator=generator)[:count].to(vectors.device)]
    return _distinct(drawn)


def _two_levels(sample: Tensor, count: int, generator: torch.Generator, tick: Tick, unit: bool) -> Tensor:
    """Train heads, then centroids within each head's share of the sample, then a few rounds over everything."""
    heads_wanted = 2 ** round(math.log2(math.sqrt(count)))
    picked = torch.randperm(len(sample), generator=generator)[: heads_wanted * _HEAD_SAMPLE].to(sample.device)
    heads = _lloyd(sample[picked], heads_wanted, _FLAT_ROUNDS, generator, unit)
    owner = quickly_nearest(sample, heads, unit=unit)
    tick(1, 2 + _REFINE_ROUNDS)
    sizes = torch.bincount(owner)
    groups = owner.argsort(stable=True).split(sizes.tolist())
    shares = _shares(sizes, count)
    parts = [
        _lloyd(sample[rows], share, _GROUP_ROUNDS, generator, unit) for rows, share in zip(groups, shares, strict=True) if share
    ]
    tick(2, 2 + _REFINE_ROUNDS)
    centroids = torch.cat(parts)
    for refined in range(_REFINE_ROUNDS):
        owner = CentroidIndex(centroids, groups_searched=8, unit=unit).assign(sample)
        centroids = means(sample, owner, centroids, unit=unit)
        tick(3 + refined, 2 + _REFINE_ROUNDS)
    return centroids


def _shares(sizes: Tensor, count: int) -> list[int]:
    """Split `count` in proportion to `sizes`, by largest remainder, so that the sum is exact."""
    ideal = sizes.double() * count / sizes.sum()
    shares = ideal.floor().long()
    left = count - int(shares.sum())
    shares[(ideal - shares).argsort(descending=True)[:left]] += 1
    return [int(share) for share in shares]
