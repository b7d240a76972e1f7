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

_ONE_THREAD = 2**18  # multiplications; up to this number OpenBLAS uses one thread
_TOKENS_AT_ONCE = 2048  # decoded vectors fit the cache and stay below the size from which malloc maps new pages


def request_passages(connection: Connection, index: LoadedIndex, passage_ids: Int32Array) -> PendingCodes | PendingVectors:
    """Request the data for exact scores of passages: their vectors if the collection stores them, else their codes."""
    if index.keeps_vectors:
        return read.vectors_of(connection, index.collection_id, passage_ids)
    return read.codes_of(connection, index.collection_id, index.codebook_id, passage_ids)


def exact_scores(query: Float32Array, codebook: Codebook, found: CodedPassages | StoredPassages) -> Float32Array:
    """Return exact MaxSim (passages,) of (query tokens, dim) with each passage."""
    if isinstance(found, StoredPassages):
        return stored_maxsim(query, found.tokens)
    return decoded_maxsim(query, codebook, found)


def decoded_maxsim(query: Float32Array, codebook: Codebook, coded: CodedPassages) -> Float32Array:
    """Return exact MaxSim (passages,) of (query tokens, dim) with decoded vectors, normalised if the originals were."""
    if not len(coded.passage_ids):
        return np.empty(0, dtype=np.float32)
    if codebook.device.type != "cpu":
        return maxsim_on_device(query, codebook, coded)
    return _in_parallel(partial(_decoded_part, query, codebook, coded), coded.offsets)


def stored_maxsim(query: Float32Array, tokens: TokenMatrix) -> Float32Array:
    """Return exact MaxSim (passages,) of (query tokens, dim) with the stored vectors of each passage."""
    if not len(tokens):
        return np.empty(0, dtype=np.float32)
    return _in_parallel(partial(_stored_part, query, tokens), tokens.offsets)


def _in_parallel(score: Callable[[tuple[int, int]], Float32Array], offsets: Int64Array) -> Float32Array:
    """Score blocks of passages in parallel threads."""
    parts = blocks(offsets, _TOKENS_AT_ONCE)
    if len(parts) == 1:
        return score(parts[0])
    return np.concatenate(list(_workers(os.getpid()).map(score, parts)))


@cache
def _workers(_process: int) -> ThreadPoolExecutor:
    """Return a pool of as many threads as torch uses; a forked process gets its own."""
    return ThreadPoolExecutor(torch.get_num_threads(), thread_name_prefix="pgretrieval-maxsim")


def _decoded_part(query: Float32Array, codebook: Codebook, coded: CodedPassages, part: tuple[int, int]) -> Float32Array:
    first, last = part
    offsets = coded.offsets[first : last + 1]
    tokens = slice(offsets[0], offsets[-1])
    similarity = decoded_similarity(query, codebook, coded.centroid_ids[tokens], coded.residuals[tokens])
    exact: Float32Array = np.add.reduce(segment_max(similarity, offsets - offsets[0]), axis=0)
    return exact


def decoded_similarity(query: Float32Array, codebook: Codebook, centroid_ids: Int32Array, residuals: ByteArray) -> Float32Array:
    """Return inner products (query tokens, tokens) of (query tokens, dim) with decoded vectors, normalised if the originals
    were.
    """
    vectors = codebook.decode(centroid_ids, residuals)
    similarity = _products(query, vectors)
    if codebook.unit:
        similarity /= np.sqrt(np.vecdot(vectors, vectors))
    return similarity


def token_similarity(query: Float32Array, codebook: Codebook, tokens: ListedTokens) -> Float32Array:
    """Return `decoded_similarity` of many tokens, computed in parallel blocks or on the codebook's device."""
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
    """Return inner products (query tokens, tokens), in blocks so small that BLAS uses one thread.

    Otherwise idle BLAS threads would spin between products and take processor time from the server and other clients
    (docs/design/stages.md).
    """
    at_once = max(1, _ONE_THREAD // query.size)
    whole = len(vectors) // at_once * at_once
    products = np.empty((len(query), len(vectors)), dtype=np.float32)
    blocks_of_tokens = vectors[:whole].reshape(-1, at_once, vectors.shape[1])
    products[:, :whole] = np.matmul(query, blocks_of_tokens.transpose(0, 2, 1)).transpose(1, 0, 2).reshape(len(query), -1)
    products[:, whole:] = query @ vectors[whole:].T
    return products


def maxsim_on_device(query: Float32Array, codebook: Codebook, coded: CodedPassages) -> Float32Array:
    """Compute `decoded_maxsim` in torch, all tokens at once, on the codebook's device."""
    similarity = _similarity_on_device(query, codebook, coded.centroid_ids, coded.residuals)
    exact: Float32Array = segment_max_on_device(similarity, coded.offsets).sum(dim=0).cpu().numpy()
    return exact


def best_first(scores: Float32Array, tie_breakers: Int32Array, k: int) -> Int64Array:
    """Return positions of the k highest scores, best first; ties in order of `tie_breakers`."""
    return np.lexsort((tie_breakers, -scores))[:k].astype(np.int64)
