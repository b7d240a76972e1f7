"""First stage: which centroids a query looks up."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pgretrieval.db.candidates import Probes
from pgretrieval.hardware import quick
from pgretrieval.types import Float32Array, Int32Array


def centroid_scores(query: Float32Array, centroids: Tensor) -> Tensor:
    """(query tokens, dim), (centroids, dim) in the quick format -> (query tokens, centroids) inner products in that format."""
    return quick(torch.from_numpy(query)) @ centroids.T


def select_probes(scores: Tensor, probes: int) -> Probes:
    """The best `probes` centroids of every query token; one that several tokens choose comes once, its scores summed.

    Summing per passage over these equals summing over all (token, centroid) pairs, which ranks candidates as well as the best
    centroid per token does, at half the cost in SQL (docs/decisions.md).
    """
    count = min(probes, scores.shape[1])
    best = scores.topk(count, dim=1, sorted=False)
    centroid_ids, inverse = np.unique(best.indices.numpy().ravel(), return_inverse=True)
    sums = np.bincount(inverse.ravel(), weights=best.values.float().numpy().ravel())
    return Probes(centroid_ids.astype(np.int32), sums.astype(np.float32))


def every_centroid(scores: Tensor) -> Probes:
    """All centroids, so that every passage becomes a candidate."""
    ids: Int32Array = np.arange(scores.shape[1], dtype=np.int32)
    return Probes(ids, scores.float().sum(dim=0).numpy())
