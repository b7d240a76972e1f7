"""MaxSim: the score of a passage is the sum over query tokens of the best inner product with any of its tokens (ColBERT, eq. 1)."""

from __future__ import annotations

import itertools

import numpy as np
import torch

from pgretrieval.types import Float32Array, Int64Array

_CHUNK = 8192  # tokens whose similarities are held at once when nothing is kept


def segment_max(similarity: Float32Array, offsets: Int64Array) -> Float32Array:
    """(query tokens, tokens) and passage offsets -> (query tokens, passages): the best token of each passage, none empty."""
    return np.maximum.reduceat(similarity, offsets[:-1], axis=1)


def maxsim(query: Float32Array, vectors: Float32Array, offsets: Int64Array) -> Float32Array:
    """(query tokens, dim), (tokens, dim) and passage offsets -> (passages,) exact scores."""
    if len(offsets) == 1:
        return np.empty(0, dtype=np.float32)
    similarity = torch.from_numpy(query) @ torch.from_numpy(vectors).T
    scores: Float32Array = segment_max(similarity.numpy(), offsets).sum(axis=0)
    return scores


def maxsim_many(queries: list[Float32Array], vectors: Float32Array, offsets: Int64Array) -> Float32Array:
    """Several queries at once: (queries, passages) exact scores, in blocks of tokens that fit the cache."""
    if not queries:
        return np.empty((0, len(offsets) - 1), dtype=np.float32)
    stacked = np.concatenate(queries)
    starts = np.concatenate([[0], np.cumsum([len(query) for query in queries])])[:-1]
    parts = [
        np.add.reduceat(_best(stacked, vectors, offsets[first : last + 1]), starts, axis=0) for first, last in _blocks(offsets)
    ]
    return np.concatenate(parts, axis=1) if parts else np.empty((len(queries), 0), dtype=np.float32)


def _best(stacked: Float32Array, vectors: Float32Array, offsets: Int64Array) -> Float32Array:
    block = torch.from_numpy(vectors[offsets[0] : offsets[-1]])
    return segment_max((torch.from_numpy(stacked) @ block.T).numpy(), offsets - offsets[0])


def _blocks(offsets: Int64Array) -> list[tuple[int, int]]:
    """Runs of whole passages with about `_CHUNK` tokens each."""
    total = int(offsets[-1])
    marks = np.searchsorted(offsets, np.arange(0, total, _CHUNK))
    edges = np.unique(np.append(marks, len(offsets) - 1)).tolist()
    return list(itertools.pairwise(edges))
