"""Last stage: exact MaxSim of decoded or stored vectors."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from pgretrieval.db.candidates import CodedPassages, ListedTokens
from pgretrieval.numerics.codebook import Codebook
from pgretrieval.numerics.kernels import best_of_vectors, by_lanes
from pgretrieval.numerics.llvm import LANES
from pgretrieval.numerics.maxsim import blocks, segment_max_on_device
from pgretrieval.numerics.parallel import in_parallel, part_size
from pgretrieval.types import ByteArray, Float32Array, Int32Array, Int64Array, TokenMatrix

_TOKENS_AT_LEAST = 2048  # tokens that one thread scores before a second has woken


def decoded_maxsim(query: Float32Array, codebook: Codebook, coded: CodedPassages) -> Float32Array:
    """Return exact MaxSim (passages,) of (query tokens, dim) with decoded vectors, normalised if the originals were."""
    if not len(coded.passage_ids):
        return np.empty(0, dtype=np.float32)
    if codebook.device.type != "cpu":
        return maxsim_on_device(query, codebook, coded)
    lanes = by_lanes(query)

    def best(tokens: slice, owners: Int32Array, rows: int) -> Float32Array:
        return codebook.scorer.best(lanes, coded.centroid_ids[tokens], coded.residuals[tokens], owners, rows)

    return _maxsim_in_parallel(best, coded.offsets)


def stored_maxsim(query: Float32Array, tokens: TokenMatrix) -> Float32Array:
    """Return exact MaxSim (passages,) of (query tokens, dim) with the stored vectors of each passage."""
    if not len(tokens):
        return np.empty(0, dtype=np.float32)
    lanes = by_lanes(query)

    def best(part: slice, owners: Int32Array, rows: int) -> Float32Array:
        return best_of_vectors(lanes, tokens.vectors[part], owners, rows)

    return _maxsim_in_parallel(best, tokens.offsets)


def token_similarity(query: Float32Array, codebook: Codebook, tokens: ListedTokens) -> Float32Array:
    """Return inner products of decoded vectors, normalised if the originals were, with (query tokens, dim).

    They are (tokens, query tokens or more); columns that are left over mean nothing.
    """
    count = len(tokens.passage_ids)
    if codebook.device.type != "cpu" and count:
        return _similarity_on_device(query, codebook, tokens.centroid_ids, tokens.residuals).T.contiguous().cpu().numpy()
    lanes, at_once = by_lanes(query), part_size(count, _TOKENS_AT_LEAST)
    similarity = np.full((count, len(lanes), LANES), -np.inf, dtype=np.float32)

    def part(start: int) -> None:
        some = slice(start, start + at_once)
        rows = similarity[some]
        owners = np.arange(len(rows), dtype=np.int32)
        codebook.scorer.raise_to(rows, lanes, tokens.centroid_ids[some], tokens.residuals[some], owners)

    in_parallel(part, range(0, count, at_once))
    return similarity.reshape(count, len(lanes) * LANES)


def _maxsim_in_parallel(best: Callable[[slice, Int32Array, int], Float32Array], offsets: Int64Array) -> Float32Array:
    """Return MaxSim (passages,): the sums of what `best` returns for a slice of tokens, their owners and their passages' number."""

    def score(block: tuple[int, int]) -> Float32Array:
        first, last = block
        starts = offsets[first : last + 1]
        owners = np.repeat(np.arange(last - first, dtype=np.int32), np.diff(starts))
        scores: Float32Array = best(slice(starts[0], starts[-1]), owners, last - first).sum(axis=(1, 2))
        return scores

    return np.concatenate(in_parallel(score, blocks(offsets, part_size(int(offsets[-1]), _TOKENS_AT_LEAST))))


def _similarity_on_device(query: Float32Array, codebook: Codebook, centroid_ids: Int32Array, residuals: ByteArray) -> Tensor:
    vectors = codebook.decode_on_device(centroid_ids, residuals)
    if codebook.unit:
        vectors = torch.nn.functional.normalize(vectors)
    return torch.from_numpy(query).to(codebook.device) @ vectors.T


def maxsim_on_device(query: Float32Array, codebook: Codebook, coded: CodedPassages) -> Float32Array:
    """Compute `decoded_maxsim` in torch, all tokens at once, on the codebook's device."""
    similarity = _similarity_on_device(query, codebook, coded.centroid_ids, coded.residuals)
    exact: Float32Array = segment_max_on_device(similarity, coded.offsets).sum(dim=0).cpu().numpy()
    return exact


def best_first(scores: Float32Array, tie_breakers: Int32Array, k: int) -> Int64Array:
    """Return positions of the k highest scores, best first; ties in order of `tie_breakers`."""
    if len(scores) <= k:
        return np.lexsort((tie_breakers, -scores)).astype(np.int64)
    best = np.flatnonzero(scores >= np.partition(scores, len(scores) - k)[len(scores) - k])  # k, and ties of the last
    return best[np.lexsort((tie_breakers[best], -scores[best]))[:k]]
