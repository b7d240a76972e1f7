"""Nearest centroid of many token vectors; two levels where the centroids are many.

Of unit vectors it is the one with the highest inner product, of others (`unit` False) the one at the least Euclidean distance,
which has the highest inner product less half its own squared length. These are as large, and the quick format is too coarse for
their difference.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from pgretrieval.numerics.hardware import quick

_EXACT_BELOW = 2048  # centroids; up to this number one full product is as fast as two levels
_CHUNK = 32_768  # tokens per product; keeps the similarity block within tens of megabytes
_GROUP_ROUNDS = 6
_SEED = 20_041


def nearest(vectors: Tensor, centroids: Tensor, *, unit: bool = True) -> Tensor:
    """(tokens, dim), (centroids, dim) -> (tokens,) int64: the nearest in full precision."""
    handicaps = _handicaps(centroids, unit)
    parts = [_closeness(chunk, centroids.T, handicaps).argmax(dim=1) for chunk in vectors.split(_CHUNK)]
    return torch.cat(parts)


def quickly_nearest(vectors: Tensor, centroids: Tensor, *, unit: bool = True) -> Tensor:
    """`nearest` in the format of `quick`, if `unit`: any centroid within half a percent of the best may be returned."""
    if not unit:
        return nearest(vectors, centroids, unit=False)
    centroids = quick(centroids)
    parts = [(quick(chunk) @ centroids.T).max(dim=1).indices for chunk in vectors.split(_CHUNK)]
    return torch.cat(parts)


def _handicaps(centroids: Tensor, unit: bool) -> Tensor | None:
    """Return half the squared length of each centroid, or None for unit vectors."""
    return None if unit else centroids.square().sum(dim=1) / 2


def _closeness(vectors: Tensor, columns: Tensor, handicaps: Tensor | None) -> Tensor:
    """(tokens, dim), (dim, centroids) -> (tokens, centroids), higher for nearer ones."""
    products = vectors @ columns
    return products if handicaps is None else products - handicaps


class CentroidIndex:
    """Index that assigns token vectors to centroids.

    Up to 2,048 centroids the answer is exact. Beyond, the centroids are grouped around about sqrt(centroids) heads and only the
    members of a token's `groups_searched` best heads are compared, in the quick format: the chosen centroid is on average less
    than .002 less similar than the best (docs/design/codec.md).
    """

    def __init__(self, centroids: Tensor, groups_searched: int = 16, *, unit: bool = True) -> None:
        self.centroids = centroids.contiguous()
        self.unit = unit
        self.groups_searched = groups_searched
        self._heads: Tensor | None = None
        if len(centroids) > _EXACT_BELOW:
            heads, self._members = _group(self.centroids, unit)
            self._heads = self._quick(heads)
            self._head_handicaps = _handicaps(heads, unit)
            self._grouped = [self._quick(self.centroids[members]).T for members in self._members]
            self._handicaps = [_handicaps(self.centroids[members], unit) for members in self._members]

    def assign(self, vectors: Tensor) -> Tensor:
        """(tokens, dim) float32 -> (tokens,) int64 centroid ids."""
        if self._heads is None:
            return nearest(vectors, self.centroids, unit=self.unit)
        parts = [self._assign_chunk(self._quick(chunk), self._heads) for chunk in vectors.split(_CHUNK)]
        return torch.cat(parts)

    def _quick(self, vectors: Tensor) -> Tensor:
        return quick(vectors) if self.unit else vectors

    def _assign_chunk(self, vectors: Tensor, heads: Tensor) -> Tensor:
        best = vectors.new_full((len(vectors),), -torch.inf)
        chosen = torch.zeros(len(vectors), dtype=torch.long, device=vectors.device)
        for group, rows in _rows_by_group(_closeness(vectors, heads.T, self._head_handicaps), self.groups_searched):
            similarity, position = _closeness(vectors[rows], self._grouped[group], self._handicaps[group]).max(dim=1)
            better = similarity > best[rows]
            rows = rows[better]
            best[rows] = similarity[better]
            chosen[rows] = self._members[group][position[better]]
        return chosen


def _rows_by_group(similarity: Tensor, groups_searched: int) -> Iterator[tuple[int, Tensor]]:
    """Yield, for each group, the rows of `similarity` (tokens, groups) that have it among their best."""
    wanted = similarity.topk(min(groups_searched, similarity.shape[1]), dim=1, sorted=False).indices
    order = wanted.flatten().argsort()
    rows = order.div(wanted.shape[1], rounding_mode="floor")
    sizes = torch.bincount(wanted.flatten()).tolist()
    for group, part in enumerate(rows.split(sizes)):
        if len(part):
            yield group, part


def _group(centroids: Tensor, unit: bool) -> tuple[Tensor, list[Tensor]]:
    """Return heads (groups, dim) and the members of each, by a few rounds of k-means over the centroids."""
    groups = 2 ** round(torch.tensor(len(centroids)).sqrt().log2().item())
    generator = torch.Generator().manual_seed(_SEED)
    heads = centroids[torch.randperm(len(centroids), generator=generator)[:groups].to(centroids.device)]
    for _ in range(_GROUP_ROUNDS):
        heads = means(centroids, nearest(centroids, heads, unit=unit), heads, unit=unit)
    owner = nearest(centroids, heads, unit=unit)
    sizes = torch.bincount(owner, minlength=len(heads))
    members = owner.argsort(stable=True).split(sizes[sizes > 0].tolist())
    return heads[sizes > 0], list(members)


def means(vectors: Tensor, owner: Tensor, previous: Tensor, *, unit: bool) -> Tensor:
    """Return `mean_directions` of unit vectors, or the means of other vectors."""
    if unit:
        return mean_directions(vectors, owner, previous)
    sums = torch.zeros_like(previous).index_add_(0, owner, vectors)
    counts = torch.bincount(owner, minlength=len(previous)).unsqueeze(1)
    return torch.where(counts > 0, sums / counts.clamp(min=1), previous)


def mean_directions(vectors: Tensor, owner: Tensor, previous: Tensor) -> Tensor:
    """Return unit means (owners, dim) of the vectors of each owner; without vectors, or with a zero sum, the previous one."""
    sums = torch.zeros_like(previous).index_add_(0, owner, vectors)
    norms = sums.norm(dim=1, keepdim=True)
    return torch.where(norms > 1e-6, sums / norms.clamp(min=1e-6), previous)
