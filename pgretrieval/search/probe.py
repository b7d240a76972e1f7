"""First stage: which centroids a query looks up."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from pgretrieval.db.candidates import Probes
from pgretrieval.numerics.hardware import quick
from pgretrieval.types import Float32Array, Int32Array, Int64Array

_MISSED = 0.9
_SPREAD = 1.5  # how much further the first look goes than centroids of mean size need


def centroid_scores(query: Float32Array, centroids: Tensor) -> Tensor:
    """(query tokens, dim), (centroids, dim) in the quick format -> (query tokens, centroids) inner products in that format."""
    return quick(torch.from_numpy(query)) @ centroids.T


def best_centroids(scores: Tensor, probes: int) -> Int32Array:
    """(query tokens, centroids) -> (query tokens, at most probes) the best centroids of each."""
    return scores.topk(min(probes, scores.shape[1]), dim=1).indices.numpy().astype(np.int32)


def reaching(scores: Tensor, sizes: Int64Array, tokens: int) -> tuple[Int32Array, Int64Array]:
    """(query tokens, centroids), (centroids,) tokens of each -> the best centroids, and how many of them hold `tokens` together.

    The first is (query tokens, as many as one of them needs), the second (query tokens,).
    """
    centroids = scores.shape[1]
    count = min(math.ceil(_SPREAD * tokens * centroids / max(int(sizes.sum()), 1)), centroids)
    while True:
        best = best_centroids(scores, count)
        passed = np.cumsum(sizes[best], axis=1) >= tokens
        if passed[:, -1].all() or count == centroids:
            widths = np.where(passed[:, -1], passed.argmax(axis=1) + 1, count)
            return best[:, : widths.max()], widths
        count = min(2 * count, centroids)


def select_probes(scores: Tensor, probes: int) -> Probes:
    """The best `probes` centroids of every query token, each weighted by how much it beats what a miss would score anyway.

    A passage that none of a token's probed centroids lists can still score nearly as much as the best centroid that was not
    probed, so _MISSED of that score is taken off. One that several tokens choose comes once, its weights summed; summing per
    passage over these equals summing over all (token, centroid) pairs (docs/design/candidates.md has both measured).
    """
    count = min(probes, scores.shape[1])
    best = scores.topk(min(probes + 1, scores.shape[1]), dim=1)
    values = best.values.float().numpy()
    missed = values[:, count:].max(axis=1, keepdims=True) if values.shape[1] > count else np.zeros((len(values), 1))
    weights = np.maximum(values[:, :count] - _MISSED * np.maximum(missed, 0), 0)
    centroid_ids, inverse = np.unique(best.indices[:, :count].numpy().ravel(), return_inverse=True)
    sums = np.bincount(inverse.ravel(), weights=weights.ravel())
    return Probes(centroid_ids.astype(np.int32), sums.astype(np.float32))
