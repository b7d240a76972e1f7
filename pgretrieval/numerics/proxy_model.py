"""Proxy model: a small network psi over token vectors, and the least-squares fit of a passage to it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from pgretrieval.numerics.proxy_targets import best_similarities
from pgretrieval.types import Float32Array, TokenMatrix

RANK = 512
"""Dimension of a proxy; models of small collections pad with zeros."""

_RIDGE = 1e-2  # share of the mean diagonal


@dataclass(frozen=True)
class ProxyModel:
    """psi(x) = relu(directions x - threshold) projection, for a token vector x.

    `directions` is (features, dim), `projection` (features, RANK). `anchors` (anchors, dim) are the token vectors on which passages
    are fitted, `baseline` (anchors,) the mean of their best similarities over passages. A passage's vector w solves
    psi(anchor) w = best similarity(anchor, passage) - baseline(anchor) in the least squares sense, so that the sum of psi over a
    query's tokens, times w, predicts the passage's MaxSim up to a constant of the query (LEMUR, section 3).
    """

    directions: Float32Array
    threshold: float
    projection: Float32Array
    anchors: Float32Array
    baseline: Float32Array

    def query(self, query: Float32Array) -> Float32Array:
        """(query tokens, dim) -> (RANK,), of unit length, since only the direction affects the ranking."""
        hidden = hidden_layer(torch.from_numpy(query), torch.from_numpy(self.directions), self.threshold)
        summed: Float32Array = (hidden.sum(dim=0) @ torch.from_numpy(self.projection)).numpy()
        return summed / max(float(np.linalg.norm(summed)), 1e-12)

    def passages(self, tokens: TokenMatrix, device: torch.device) -> Float32Array:
        """(tokens, dim) of several passages -> (passages, RANK), without training."""
        solver, anchors, baseline = self._solver.to(device), torch.from_numpy(self.anchors), torch.from_numpy(self.baseline)
        similarity = best_similarities(anchors.to(device), tokens) - baseline.to(device)[:, None]
        fitted: Float32Array = (solver @ similarity).T.cpu().numpy()
        return np.ascontiguousarray(fitted)

    @cached_property
    def _solver(self) -> Tensor:
        """(RANK, anchors): ridge regression on psi of the anchors."""
        return ridge_solver(
            hidden_layer(torch.from_numpy(self.anchors), torch.from_numpy(self.directions), self.threshold)
            @ torch.from_numpy(self.projection)
        )


def hidden_layer(vectors: Tensor, directions: Tensor, threshold: float) -> Tensor:
    """(tokens, dim), (features, dim) -> (tokens, features)."""
    return (vectors @ directions.T - threshold).relu_()


def ridge_solver(psi: Tensor) -> Tensor:
    """(anchors, rank) -> (rank, anchors), which times targets gives the ridge solution."""
    gram = (psi.T @ psi).double()
    mean = float(gram.diagonal().mean())
    gram.diagonal().add_(max(_RIDGE * mean, 1e-12))
    solver: Tensor = torch.linalg.solve(gram, psi.T.double()).float()
    return solver
