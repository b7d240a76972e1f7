"""Last stage: exact MaxSim of decoded or stored vectors."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial

import numpy as np
import torch
from torch import Tensor

from pgretrieval.db import candidates as read
from pgretrieval.db.candidates import CodedPassages, ListedTokens, PendingCodes, PendingVectors, StoredPassages
from pgretrieval.db.connection import Connection
from pgretrieval.numerics.codebook import Codebook
from pgretrieval.numerics.maxsim import blocks, segment_max, segment_max_on_device
from pgretrieval.search.loaded import LoadedIndex
from pgretrieval.types import ByteArray, Float32Array, Int32Array, Int64Array, TokenMatrix

_ONE_THREAD = 2**18  # multiplications up to which OpenBLAS uses one thread
_TOKENS_AT_ONCE = 2048  # decoded vectors stay in the cache, and in memory that the process keeps: of 2 MiB each, pages come anew


def ask(connection: Connection, index: LoadedIndex, passage_ids: Int32Array) -> PendingCodes | PendingVectors:
    """Ask for what exact scores of passages need: their vectors if the collection keeps them, else all their codes."""
    if index.keeps_vectors:
        return read.vectors_of(connection, index.collection_id, passage_ids)
    return read.codes_of(connection, index.collection_id, index.codebook_id, passage_ids)


def exact_scores(query: Float32Array, codebook: Codebook, found: CodedPassages | StoredPassages) -> Float32Array:
    """Exact MaxSim of (query tokens, dim) with each passage -> (passages,)."""
    if isinstance(found, StoredPassages):
        return stored_maxsim(query, found.tokens)
    return decoded_maxsim(query, codebook, found)


def decoded_maxsim(query: Float32Array, codebook: Codebook, coded: CodedPassages) -> Float32Array:
    """Exact MaxSim of (query tokens, dim) with the decoded vectors of each passage, re-normalised if they were -> (passages,)."""
    if not len(coded.passage_ids):
        return np.empty(0, dtype=np.float32)
    if codebook.device.type != "cpu":
        return maxsim_on_device(query, codebook, coded)
    return _side_by_side(partial(_decoded_part, query, codebook, coded), coded.offsets)


def stored_maxsim(query: Float32Array, tokens: TokenMatrix) -> Float32Array:
    """Exact MaxSim of (query tokens, dim) with the stored vectors of each passage -> (passages,)."""
    if not len(tokens):
        return np.empty(0, dtype=np.float32)
    return _side_by_side(partial(_stored_part, query, tokens), tokens.offsets)


def _side_by_side(score: Callable[[tuple[int, int]], Float32Array], offsets: Int64Array) -> Float32Array:
    """Scores of runs of passages, each computed by a thread of its own."""
    parts = blocks(offsets, _TOKENS_AT_ONCE)
    if len(parts) == 1:
        return score(parts[0])
    return np.concatenate(list(_workers(os.getpid()).map(score, parts)))


@cache
def _workers(_process: int) -> ThreadPoolExecutor:
    """As many threads as torch uses, which sleep while there is nothing to do; a forked process gets its own."""
    return ThreadPoolExecutor(torch.get_num_threads(), thread_name_prefix="pgretrieval-maxsim")


def _decoded_part(query: Float32Array, codebook: Codebook, coded: CodedPassages, part: tuple[int, int]) -> Float32Array:
    first, last = part
    offsets = coded.offsets[first : last + 1]
    tokens = slice(offsets[0], offsets[-1])
    similarity = decoded_similarity(query, codebook, coded.centroid_ids[tokens], coded.residuals[tokens])
    exact: Float32Array = np.add.reduce(segment_max(similarity, offsets - offsets[0]), axis=0)
    return exact


def decoded_similarity(query: Float32Array, codebook: Codebook, centroid_ids: Int32Array, residuals: ByteArray) -> Float32Array:
    """(query tokens, dim) and codes -> (query tokens, tokens) inner products with the vectors, re-normalised if they were."""
    vectors = codebook.decode(centroid_ids, residuals)
    similarity = _products(query, vectors)
    if codebook.unit:
        similarity /= np.sqrt(np.vecdot(vectors, vectors))
    return similarity


def token_similarity(query: Float32Array, codebook: Codebook, tokens: ListedTokens) -> Float32Array:
    """`decoded_similarity` of many tokens: runs of them side by side, or on the device of the codebook."""
    if not len(tokens.passage_ids):
        return np.empty((len(query), 0), dtype=np.float32)
    if codebook.device.type != "cpu":
        return _similarity_on_device(query, codebook, tokens.centroid_ids, tokens.residuals).cpu().numpy()
    starts = range(0, len(tokens.passage_ids), _TOKENS_AT_ONCE)

    def part(start: int) -> Float32Array:
        run = slice(start, start + starts.step)
        return decoded_similarity(query, codebook, tokens.centroid_ids[run], tokens.residuals[run])

    return np.concatenate([part(0)] if len(starts) == 1 else list(_workers(os.getpid()).map(part, starts)), axis=1)


def _similarity_on_device(query: Float32Array, codebook: Codebook, centroid_ids: Int32Array, residuals: ByteArray) -> Tensor:
    vectors = codebook.decode_on_device(centroid_ids, residuals)
    if codebook.unit:
        vectors = torch.nn.functional.normalize(vectors)
    return torch.from_numpy(query).to(codebook.device) @ vectors.T


def _stored_part(query: Float32Array, tokens: TokenMatrix, part: tuple[int, int]) -> Float32Array:
    first, last = part
    offsets = tokens.offsets[first : last + 1]
    similarity = _products(query, tokens.vectors[offsets[0] : offsets[-1]])
    exact: Float32Array = np.add.reduce(segment_max(similarity, offsets - offsets[0]), axis=0)
    return exact


def _products(query: Float32Array, vectors: Float32Array) -> Float32Array:
    """(query tokens, dim), (tokens, dim) -> (query tokens, tokens), in products so small that BLAS keeps to one thread.

    Its other threads would spin between products, and starve the server and other clients (docs/design/stages.md).
    """
    at_once = max(1, _ONE_THREAD // query.size)
    whole = len(vectors) // at_once * at_once
    products = np.empty((len(query), len(vectors)), dtype=np.float32)
    blocks_of_tokens = vectors[:whole].reshape(-1, at_once, vectors.shape[1])
    products[:, :whole] = np.matmul(query, blocks_of_tokens.transpose(0, 2, 1)).transpose(1, 0, 2).reshape(len(query), -1)
    products[:, whole:] = query @ vectors[whole:].T
    return products


def maxsim_on_device(query: Float32Array, codebook: Codebook, coded: CodedPassages) -> Float32Array:
    """`decoded_maxsim` in torch, all tokens at once, on the device of the codebook."""
    similarity = _similarity_on_device(query, codebook, coded.centroid_ids, coded.residuals)
    exact: Float32Array = segment_max_on_device(similarity, coded.offsets).sum(dim=0).cpu().numpy()
    return exact


def best_first(scores: Float32Array, tie_breakers: Int32Array, k: int) -> Int64Array:
    """Positions of the k highest scores, best first; equal scores in order of the tie breakers."""
    return np.lexsort((tie_breakers, -scores))[:k].astype(np.int64)
