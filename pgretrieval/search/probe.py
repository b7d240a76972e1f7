"""First stage: selection of the centroids that a query probes."""

from __future__ import annotations

import math

import numpy as np

from pgretrieval.db.candidates import Probes
from pgretrieval.numerics.centroid_scores import CentroidScores
from pgretrieval.types import Int32Array, Int64Array

_MISSED = 0.9
_SPREAD = 1.5  # margin of the first attempt over centroids of mean size


def best_centroids(scores: CentroidScores, probes: int) -> Int32Array:
    """Return the best centroids of each query token, (query tokens, at most probes)."""
    return scores.best(min(probes, scores.centroids))[0]


def centroids_with_tokens(scores: CentroidScores, sizes: Int64Array, tokens: int) -> tuple[Int32Array, Int64Array]:
    """Return the best centroids of each query token, and how many of them contain `tokens` tokens together.

    The first is (query tokens, largest number needed), the second (query tokens,); `sizes` (centroids,) counts tokens by centroid.
    """
    centroids = scores.centroids
    count = min(math.ceil(_SPREAD * tokens * centroids / max(int(sizes.sum()), 1)), centroids)
    while True:
        best = best_centroids(scores, count)
        passed = np.cumsum(sizes[best], axis=1) >= tokens
        if passed[:, -1].all() or count == centroids:
            widths = np.where(passed[:, -1], passed.argmax(axis=1) + 1, count)
            return best[:, : widths.max()], widths
        count = min(2 * count, centroids)


def select_probes(scores: CentroidScores, probes: int) -> Probes:
    """Return the best `probes` centroids of every query token, weighted by their margin over a missed passage.

    A passage without a posting of a probed centroid can still score nearly as much as the best centroid that was not probed, so
    _MISSED of that score is subtracted. A centroid chosen by several tokens occurs once with the sum of weights, which gives the
    same sums per passage (docs/design/candidates.md has the measurements).
    """
    count = min(probes, scores.centroids)
    best, values = scores.best(min(probes + 1, scores.centroids))
    missed = values[:, count:].max(axis=1, keepdims=True) if values.shape[1] > count else np.zeros((len(values), 1))
    weights = np.maximum(values[:, :count] - _MISSED * np.maximum(missed, 0), 0)
    centroid_ids, inverse = np.unique(best[:, :count], return_inverse=True)
    sums = np.bincount(inverse.ravel(), weights=weights.ravel())
    return Probes(centroid_ids, sums.astype(np.float32))
