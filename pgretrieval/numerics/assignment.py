"""Nearest centroid of many token vectors; two levels where the centroids are many.

Of unit vectors it is the one with the highest inner product, of others (`unit` False) the one at the least Euclidean distance,
which has the highest inner product less half its own squared length. These are as large, and the quick format is too coarse for
their difference.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from pgretrieval.numerics.hardware import quick
from pgretrieval.numerics.kernels import best_of_vectors, by_lanes
from pgretrieval.numerics.nearest import Centroids
from pgretrieval.numerics.parallel import in_parallel, part_size
from pgretrieval.types import Float32Array, Int32Array

_EXACT_BELOW = 2048  # centroids; up to this number one full product is as fast as two levels
_CHUNK = 32_768  # tokens per product; keeps the similarity block within tens of megabytes
_CHUNK_AT_LEAST = 4096  # tokens that one thread assigns before a second has woken
_GROUP_ROUNDS = 6
_FINER = 2
_MAXIMA_PER_SEARCHED = 4
_SEED = 20_041


def nearest(vectors: Tensor, centroids: Tensor, *, unit: bool = True) -> Tensor:
    """(tokens, dim), (centroids, dim) -> (tokens,) int64: the nearest in full precision."""
    if vectors.device.type == "cpu":
        return torch.from_numpy(_compared(centroids, unit).nearest(vectors.numpy())).long()
    handicaps = _handicaps(centroids, unit)
    parts = [_closeness(chunk, centroids.T, handicaps).argmax(dim=1) for chunk in vectors.split(_CHUNK)]
    return torch.cat(parts)


def quickly_nearest(vectors: Tensor, centroids: Tensor, *, unit: bool = True) -> Tensor:
    """`nearest`, on a GPU in the format of `quick` if `unit`: any centroid within half a percent of the best may be returned."""
    if not unit or vectors.device.type == "cpu":
        return nearest(vectors, centroids, unit=unit)
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

    Up to 2,048 centroids the answer is exact. Beyond, the centroids are grouped around about sqrt(centroids) heads, twice as many
    on the processor, and only the members of a token's `groups_searched` best heads are compared: the chosen centroid is on
    average less than .002 less similar than the best (docs/design/codec.md).
    """

    def __init__(self, centroids: Tensor, groups_searched: int = 16, *, unit: bool = True) -> None:
        self.centroids = centroids.contiguous()
        self.unit = unit
        self._groups: _ProcessorGroups | _DeviceGroups | None = None
        if len(centroids) > _EXACT_BELOW:
            kind = _ProcessorGroups if centroids.device.type == "cpu" else _DeviceGroups
            self._groups = kind(self.centroids, groups_searched, unit)

    def assign(self, vectors: Tensor) -> Tensor:
        """(tokens, dim) float32 -> (tokens,) int64 centroid ids."""
        if self._groups is None:
            return nearest(vectors, self.centroids, unit=self.unit)
        return self._groups.assign(vectors)


class _ProcessorGroups:
    """Groups of centroids on the processor, compared by compiled code in float32.

    They are twice as many as on a GPU, for which small groups are slow. As many are searched.
    """

    def __init__(self, centroids: Tensor, groups_searched: int, unit: bool) -> None:
        heads, members = _group(centroids, unit, finer=_FINER)
        self._searched = groups_searched
        self._heads = by_lanes(heads.numpy())
        handicaps = _handicaps(heads, unit)
        self._head_handicaps = None if handicaps is None else handicaps.numpy()
        self._head_count = len(heads)
        self._members = [some.numpy() for some in members]
        self._centroids = [_compared(centroids[some], unit) for some in members]

    def assign(self, vectors: Tensor) -> Tensor:
        """Assign chunks in threads."""
        rows = vectors.numpy()
        chosen = np.empty(len(rows), dtype=np.int64)
        at_once = min(part_size(len(rows), _CHUNK_AT_LEAST), _CHUNK)

        def part(start: int) -> None:
            chosen[start : start + at_once] = self._assign(rows[start : start + at_once])

        in_parallel(part, range(0, len(rows), at_once))
        return torch.from_numpy(chosen)

    def _assign(self, vectors: Float32Array) -> Int32Array:
        best = np.full(len(vectors), -np.inf, dtype=np.float32)
        chosen = np.zeros(len(vectors), dtype=np.int32)
        for group, rows in self._rows_by_group(vectors):
            closeness, positions = self._centroids[group].compare(vectors, rows)
            better = np.flatnonzero(closeness > best[rows])
            rows = rows[better]
            best[rows] = closeness[better]
            chosen[rows] = self._members[group][positions[better]]
        return chosen

    def _rows_by_group(self, vectors: Float32Array) -> Iterator[tuple[int, Int32Array]]:
        """Yield, for each group, the rows that have it among their best.

        A row may have a few more than are wanted: those whose head is as close as that many maxima of other heads.
        """
        count = self._head_count
        rows = np.arange(len(vectors), dtype=np.int32)
        similarity = best_of_vectors(self._heads, vectors, rows, len(rows)).reshape(len(rows), -1)[:, :count]
        if self._head_handicaps is not None:
            similarity = similarity - self._head_handicaps
        maxima = similarity
        while (half := maxima.shape[1] // 2) >= _MAXIMA_PER_SEARCHED * self._searched:
            maxima = np.maximum(maxima[:, :half], maxima[:, half : 2 * half])
        left = maxima.shape[1] - self._searched
        if left > 0:
            searched = (similarity >= np.partition(maxima, left, axis=1)[:, left, None]).T.copy()
        else:
            searched = np.ones((count, len(rows)), dtype=bool)
        for group, chosen in enumerate(searched):
            yield group, np.flatnonzero(chosen).astype(np.int32)


def _compared(centroids: Tensor, unit: bool) -> Centroids:
    handicaps = _handicaps(centroids, unit)
    return Centroids(centroids.numpy(), None if handicaps is None else handicaps.numpy())


class _DeviceGroups:
    """Groups of centroids on a GPU, in the quick format if the vectors are of length one."""

    def __init__(self, centroids: Tensor, groups_searched: int, unit: bool) -> None:
        heads, self._members = _group(centroids, unit)
        self._searched = groups_searched
        self._unit = unit
        self._heads = self._quick(heads)
        self._head_handicaps = _handicaps(heads, unit)
        self._grouped = [self._quick(centroids[members]).T for members in self._members]
        self._handicaps = [_handicaps(centroids[members], unit) for members in self._members]

    def assign(self, vectors: Tensor) -> Tensor:
        """Assign chunks one after the other."""
        return torch.cat([self._assign(self._quick(chunk)) for chunk in vectors.split(_CHUNK)])

    def _quick(self, vectors: Tensor) -> Tensor:
        return quick(vectors) if self._unit else vectors

    def _assign(self, vectors: Tensor) -> Tensor:
        best = vectors.new_full((len(vectors),), -torch.inf)
        chosen = torch.zeros(len(vectors), dtype=torch.long, device=vectors.device)
        for group, rows in _rows_by_group(_closeness(vectors, self._heads.T, self._head_handicaps), self._searched):
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


def _group(centroids: Tensor, unit: bool, *, finer: int = 1) -> tuple[Tensor, list[Tensor]]:
    """Return heads (groups, dim) and the members of each, by a few rounds of k-means over the centroids.

    There are about sqrt(centroids) groups, or `finer` times as many.
    """
    groups = finer * 2 ** round(math.log2(math.sqrt(len(centroids))))
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
