"""MaxSim: sum over query tokens of the best inner product with a token of the passage (ColBERT, eq. 1)."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch import Tensor

from pgretrieval.types import Float32Array, Int64Array

_CHUNK = 8192  # tokens whose similarities are in memory at once


def segment_max(similarity: Float32Array, offsets: Int64Array) -> Float32Array:
    """(query tokens, tokens) and passage offsets -> (query tokens, passages): the best token of each passage, none empty."""
    return np.maximum.reduceat(similarity, offsets[:-1], axis=1)


def segment_max_on_device(similarity: Tensor, offsets: Int64Array) -> Tensor:
    """`segment_max` of (query tokens, tokens) wherever they are: (query tokens, passages) float32."""
    lengths = torch.from_numpy(np.diff(offsets)).to(similarity.device)
    by_token = similarity.float().T.contiguous()
    return torch.segment_reduce(by_token, "max", lengths=lengths, axis=0, unsafe=True).T


def quick_segment_max(similarity: Tensor, offsets: Int64Array) -> Tensor:
    """`segment_max` clipped at 0, as float32, of (rows, tokens) that may be bf16 and on any device.

    As integers, the bits of bf16 numbers keep the order of those that are not negative, and compare ten times faster.
    """
    if similarity.device.type != "cpu":
        best = segment_max_on_device(similarity, offsets)
    elif similarity.dtype == torch.bfloat16:
        bits = np.maximum.reduceat(similarity.view(torch.int16).numpy(), offsets[:-1], axis=1)
        best = torch.from_numpy(bits).view(torch.bfloat16).float()
    else:
        best = torch.from_numpy(segment_max(similarity.numpy(), offsets))
    return best.clamp_(min=0)


def maxsim(query: Float32Array, vectors: Float32Array, offsets: Int64Array) -> Float32Array:
    """(query tokens, dim), (tokens, dim) and passage offsets -> (passages,) exact scores."""
    if len(offsets) == 1:
        return np.empty(0, dtype=np.float32)
    scores: Float32Array = segment_max(query @ vectors.T, offsets).sum(axis=0)
    return scores


def maxsim_many(queries: list[Float32Array], vectors: Float32Array, offsets: Int64Array) -> Float32Array:
    """Several queries at once: (queries, passages) exact scores, in blocks of tokens that fit the cache."""
    if not queries:
        return np.empty((0, len(offsets) - 1), dtype=np.float32)
    stacked = np.concatenate(queries)
    starts = np.concatenate([[0], np.cumsum([len(query) for query in queries])])[:-1]
    parts = [np.add.reduceat(_best(stacked, vectors, offsets[first : last + 1]), starts, axis=0) for first, last in blocks(offsets)]
    return np.concatenate(parts, axis=1) if parts else np.empty((len(queries), 0), dtype=np.float32)


def _best(stacked: Float32Array, vectors: Float32Array, offsets: Int64Array) -> Float32Array:
    block = torch.from_numpy(np.asarray(vectors[offsets[0] : offsets[-1]], dtype=np.float32))
    return segment_max((torch.from_numpy(stacked) @ block.T).numpy(), offsets - offsets[0])


def blocks(offsets: Int64Array, at_most: int = _CHUNK) -> list[tuple[int, int]]:
    """Return ranges of whole passages with about `at_most` tokens each."""
    total = int(offsets[-1])
    marks = np.searchsorted(offsets, np.arange(0, total, at_most))
    edges = np.unique(np.append(marks, len(offsets) - 1)).tolist()
    return list(itertools.pairwise(edges))
