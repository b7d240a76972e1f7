"""First stage: which centroids a query looks up."""

from __future__ import annotations

import numpy as np
import torch

from pgretrieval.db.candidates import Probes
from pgretrieval.types import Float32Array, Int32Array


def centroid_scores(query: Float32Array, centroids: Float32Array) -> Float32Array:
    """(query tokens, dim), (centroids, dim) -> (query tokens, centroids) inner products."""
    scores: Float32Array = (torch.from_numpy(query) @ torch.from_numpy(centroids).T).numpy()
    return scores


def select_probes(scores: Float32Array, probes: int) -> Probes:
    """The best `probes` centroids of every query token; one that several tokens choose comes once, its scores summed.

    Summing per passage over these equals summing over all (token, centroid) pairs, which ranks candidates as well as the best
    centroid per token does, at half the cost in SQL (docs/decisions.md).
    """
    count = min(probes, scores.shape[1])
    best = torch.from_numpy(scores).topk(count, dim=1, sorted=False)
    centroid_ids, inverse = np.unique(best.indices.numpy().ravel(), return_inverse=True)
    sums = np.bincount(inverse, weights=best.values.numpy().ravel())
    return Probes(centroid_ids.astype(np.int32), sums.astype(np.float32))


def every_centroid(scores: Float32Array) -> Probes:
    """All centroids, so that every passage becomes a candidate."""
    ids: Int32Array = np.arange(scores.shape[1], dtype=np.int32)
    return Probes(ids, scores.sum(axis=0))
