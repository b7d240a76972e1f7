"""Item embeddings with the same variance in every direction, so that a vector index finds its way among them.

With any invertible M, query vectors c M and embeddings M^-1 U R have the same products as anchor scores c and embeddings U R. As
they come, embeddings of anchor items whose scores go up and down together have most of their variance in a few directions, and the
neighbours of all by inner product are the few that are furthest out. Once it is spread evenly each item is near to itself before
others, and a graph of neighbours reaches it.
"""

from __future__ import annotations

import numpy as np

from pgretrieval.anncur.inverse import Matrix
from pgretrieval.types import Float32Array

_FLOOR = 1e-3  # of the largest variance, for directions that vary less: to stretch them further would stretch rounding


def whiten(inverse: Matrix, scores: Matrix) -> tuple[Float32Array, Matrix]:
    """U (anchors, queries) and R (queries, items) -> M (anchors, anchors), symmetric, and M^-1 U (anchors, queries).

    M is the square root of the covariance of the embeddings U R, in single precision, as it is stored, and M^-1 undoes just that.
    """
    centred = scores - scores.mean(axis=1, keepdims=True)
    covariance = inverse @ (centred @ centred.T / scores.shape[1]) @ inverse.T
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
    if values[-1] <= 0:  # all embeddings are equal
        values = np.ones_like(values)
    root = (vectors * np.sqrt(np.maximum(values, _FLOOR * values[-1]))) @ vectors.T
    directions = ((root + root.T) / 2).astype(np.float32)
    return directions, np.linalg.solve(directions.astype(np.float64), inverse).astype(np.float64)
