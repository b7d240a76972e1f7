"""Token pooling: fewer vectors of a passage, the means of clusters of similar tokens."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pgretrieval.importing import whole
from pgretrieval.types import Float32Array

MAX_POOLING = 9_999
"""Most by which the number of a passage's vectors can be divided: more than it has tokens."""
PROTECTED = 1
"""First tokens that keep their vectors: the marker, as in the library."""


def pooled(arrays: Sequence[Float32Array], factor: int) -> list[Float32Array]:
    """Return (1 + (tokens - 1) // factor, dim) unit rows for each (tokens, dim) array of unit rows.

    This is `HierarchicalTokenPooling` of sentence-transformers, whose import takes seconds: clusters of tokens by Ward's criterion
    on cosine distances, and their means, scaled to unit length.
    """
    whole("scipy.cluster.hierarchy")
    return [_pooled(array, factor) for array in arrays]


def _pooled(tokens: Float32Array, factor: int) -> Float32Array:
    from scipy.cluster.hierarchy import fcluster, linkage

    rest = tokens[PROTECTED:]
    count = max(len(rest) // factor, 1)
    if count >= len(rest):
        return tokens
    distances = np.clip(1 - rest @ rest.T, 0, 2)[np.triu_indices(len(rest), 1)]
    labels = np.unique(fcluster(linkage(distances, "ward"), count, "maxclust"), return_inverse=True)[1]
    sums = np.zeros((labels.max() + 1, tokens.shape[1]), dtype=np.float32)
    np.add.at(sums, labels, rest)
    means = sums / np.bincount(labels)[:, None].astype(np.float32)
    rows: Float32Array = np.concatenate([tokens[:PROTECTED], means])
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return rows
