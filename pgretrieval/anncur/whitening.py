"""Whitening of item embeddings: equal variance in every direction, so that a graph index reaches every item.

For any invertible M, query vectors c M and embeddings M^-1 U R have the same products as anchor scores c and embeddings U R.
Without whitening, embeddings of correlated anchor items have most of their variance in a few directions, and the few outermost
items are the neighbours of all others by inner product. With equal variance, each item is its own nearest neighbour, and a graph of
neighbours reaches it.
"""

from __future__ import annotations

import numpy as np

from pgretrieval.anncur.inverse import Matrix
from pgretrieval.types import Float32Array

_FLOOR = 1e-3  # share of the largest variance; stretching directions below it would amplify rounding errors


def whiten(inverse: Matrix, scores: Matrix) -> tuple[Float32Array, Matrix]:
    """Return M (anchors, anchors), symmetric, and M^-1 U (anchors, queries) for U (anchors, queries) and R (queries, items).

    M is the square root of the covariance of the embeddings U R in the stored single precision, and M^-1 inverts exactly that
    matrix.
    """
    centred = scores - scores.mean(axis=1, keepdims=True)
    covariance = inverse @ (centred @ centred.T / scores.shape[1]) @ inverse.T
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
    if values[-1] <= 0:  # all embeddings are equal
        values = np.ones_like(values)
    root = (vectors * np.sqrt(np.maximum(values, _FLOOR * values[-1]))) @ vectors.T
    directions = ((root + root.T) / 2).astype(np.float32)
    return directions, np.linalg.solve(directions.astype(np.float64), inverse).astype(np.float64)
