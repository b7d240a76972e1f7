"""Products of a query with all centroids, the best centroids of each query token, and MaxSim over centroids.

The scores stay in the layout in which they are computed, a lane of the processor's vectors for each query token. A row of the
scores is a centroid, so that the maximum over a passage's tokens is a maximum of whole rows.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pgretrieval.numerics.kernels import by_lanes, check_centroids, products_of
from pgretrieval.numerics.llvm import ADDRESS, FLOAT, INT32, INT64, LANE_FLOATS, LANES, UINT16, ZEROS, Code, number
from pgretrieval.numerics.maxsim import blocks
from pgretrieval.numerics.parallel import in_parallel, part_size
from pgretrieval.types import Float32Array, Int32Array, Int64Array

_TOGETHER = 4  # centroids multiplied at once: each query value that is loaded serves all of them
_BLOCK = 64  # centroids whose maximum is kept, to find the best without looking at all
_BLOCKS_AT_LEAST = 64  # blocks that one thread multiplies before a second has woken
_TOKENS_AT_LEAST = 16_384  # tokens that one thread compares before a second has woken
_TWO_BYTES = 2**16  # so many centroids have ids of two bytes
_AHEAD = 8  # tokens between the request for a centroid's scores and their use


@dataclass(frozen=True, slots=True)
class PassageCentroids:
    """Centroid ids of passages (passages,), wherever they are in memory, in the order of the tokens.

    Passage i has lengths[i] ids from addresses[i], of four bytes or, unless `wide`, two. `memory` is what holds them.
    """

    passage_ids: Int32Array
    addresses: Int64Array
    lengths: Int64Array
    wide: bool
    memory: object

    @classmethod
    def of(cls, passage_ids: Int32Array, offsets: Int64Array, centroid_ids: Int32Array, centroids: int) -> PassageCentroids:
        """Return those of coded passages. Raises StorageError for ids that a codebook of so many centroids does not have."""
        check_centroids(centroid_ids, centroids)
        wide = is_wide(centroids)
        memory = centroid_ids.astype(np.int32 if wide else np.uint16)
        return cls(passage_ids, memory.ctypes.data + memory.itemsize * offsets[:-1], np.diff(offsets), wide, memory)

    def __len__(self) -> int:
        """Return the number of passages."""
        return len(self.passage_ids)

    @property
    def bytes(self) -> int:
        """Bytes of the ids."""
        return (4 if self.wide else 2) * int(self.lengths.sum())

    def some(self, keep: Int64Array | NDArray[np.bool_]) -> PassageCentroids:
        """Return those at some positions."""
        return replace(self, passage_ids=self.passage_ids[keep], addresses=self.addresses[keep], lengths=self.lengths[keep])

    def followed_by(self, others: PassageCentroids) -> PassageCentroids:
        """Return these and then others of the same codebook."""
        return PassageCentroids(
            np.append(self.passage_ids, others.passage_ids),
            np.append(self.addresses, others.addresses),
            np.append(self.lengths, others.lengths),
            self.wide,
            (self.memory, others.memory),
        )


def is_wide(centroids: int) -> bool:
    """Return whether ids of so many centroids take four bytes in memory, not two."""
    return centroids > _TWO_BYTES


class CentroidScores:
    """Inner products of (query tokens, dim) with (centroids, dim), float32."""

    def __init__(self, query: Float32Array, centroids: Float32Array) -> None:
        self.tokens = len(query)
        self.centroids = len(centroids)
        self._lanes = by_lanes(query)
        count = -(-self.centroids // _BLOCK)
        width = len(self._lanes) * LANES
        self._scores = np.empty((count, _BLOCK, width), dtype=np.float32)  # the last block may have room for more centroids
        self._scores.reshape(-1, width)[self.centroids :] = -np.inf
        self._maxima = np.full((count, width), -np.inf, dtype=np.float32)
        self._multiply(np.ascontiguousarray(centroids))

    def of(self, centroid_ids: Int32Array) -> Float32Array:
        """Return the scores (query tokens, centroids asked for)."""
        rows: Float32Array = self._rows[centroid_ids, : self.tokens].T
        return rows

    def best(self, count: int) -> tuple[Int32Array, Float32Array]:
        """Return the ids and scores of the `count` best centroids of each query token, (query tokens, count), best first.

        Ties go to the smaller id. `count` is at most the number of centroids.
        """
        if 2 * count > len(self._maxima):
            return _sorted(self._rows[: self.centroids, : self.tokens].T, count)
        maxima = self._maxima[:, : self.tokens].T
        least = np.partition(maxima, len(self._maxima) - count, axis=1)[:, -count]  # so many blocks have a better centroid
        tokens, found = np.nonzero(maxima >= least[:, None])
        scores = self._scores[found, :, tokens]
        at, inside = np.nonzero(scores >= least[tokens, None])
        tokens, ids, values = tokens[at], found[at] * _BLOCK + inside, scores[at, inside]
        order = np.lexsort((ids, -values, tokens))
        chosen = order[np.searchsorted(tokens, np.arange(self.tokens))[:, None] + np.arange(count)]
        return ids[chosen].astype(np.int32), values[chosen]

    def pruned(self, threshold: float) -> CentroidScores:
        """Return the scores with 0 for centroids that score less than `threshold` with every query token, for MaxSim."""
        pruned = copy(self)
        kept = self._scores[..., : self.tokens].max(axis=-1, keepdims=True) >= threshold
        pruned._scores = np.where(kept, self._scores, np.float32(0))
        return pruned

    def maxsim(self, passages: PassageCentroids) -> Float32Array:
        """Return MaxSim (passages,) of the query with the centroids of each passage, at least 0 for each query token."""
        scores = np.zeros(len(passages), dtype=np.float32)
        filled = np.flatnonzero(passages.lengths)  # the compiled code reads one centroid at least
        some = passages.some(filled)
        found = np.empty(len(filled), dtype=np.float32)
        kernel = _maxsim_kernel(passages.wide)

        def part(block: tuple[int, int]) -> None:
            rows = slice(*block)
            arrays = found[rows], some.addresses[rows], some.lengths[rows]
            kernel(*(array.ctypes.data for array in (*arrays, self._scores)), len(self._lanes), len(arrays[0]))

        offsets = np.append(0, np.cumsum(some.lengths))
        in_parallel(part, blocks(offsets, part_size(int(offsets[-1]), _TOKENS_AT_LEAST)))
        scores[filled] = found
        return scores

    @property
    def _rows(self) -> Float32Array:
        return self._scores.reshape(-1, self._scores.shape[2])

    def _multiply(self, centroids: Float32Array) -> None:
        kernel = _score_kernel(centroids.shape[1])
        at_once = part_size(len(self._maxima), _BLOCKS_AT_LEAST)

        def part(first: int) -> None:
            some = centroids[first * _BLOCK : (first + at_once) * _BLOCK]
            arrays = (self._scores[first:], self._maxima[first:], self._lanes)
            kernel(*(array.ctypes.data for array in arrays), len(self._lanes), some.ctypes.data, len(some))

        in_parallel(part, range(0, len(self._maxima), at_once))


def _sorted(scores: Float32Array, count: int) -> tuple[Int32Array, Float32Array]:
    """Return the `count` best of each row by sorting them all."""
    ids = np.argsort(-scores, axis=1, kind="stable")[:, :count]
    return ids.astype(np.int32), np.take_along_axis(scores, ids, axis=1)


@cache
def _score_kernel(dim: int) -> Callable[..., None]:
    """Scores (centroids, groups, LANES) and their maxima (blocks, groups, LANES) of (groups, dim, LANES) and (centroids, dim)."""
    code = Code([ADDRESS, ADDRESS, ADDRESS, INT64, ADDRESS, INT64])
    scores, maxima, query, groups, centroids, count = code.arguments
    last = code.plus(count, number(-1))

    def score_some(first: Any) -> tuple[()]:
        some = [code.least(code.plus(first, number(other)), last) for other in range(_TOGETHER)]
        vectors = [code.at(centroids, code.times(one, number(dim)), FLOAT) for one in some]
        block = code.quotient(first, number(_BLOCK))

        def group(g: Any) -> tuple[()]:
            lanes = code.at(query, code.times(g, number(dim)), LANE_FLOATS)
            products = products_of(code, lanes, vectors, dim, ZEROS)
            place = code.plus(code.times(block, groups), g)
            best = code.load(maxima, place, LANE_FLOATS)
            for one, product in zip(some, products, strict=True):
                code.store(product, scores, code.plus(code.times(one, groups), g))
                best = code.greater(product, best)
            code.store(best, maxima, place)
            return ()

        code.loop(groups, group)
        return ()

    code.loop(count, score_some, step=_TOGETHER)
    return code.compiled()


@cache
def _maxsim_kernel(wide: bool) -> Callable[..., None]:
    """MaxSim (passages,) of (centroids, groups, LANES) scores and ids of a passage's centroids from an address."""
    code = Code([ADDRESS, ADDRESS, ADDRESS, ADDRESS, INT64, INT64])
    sums, addresses, lengths, scores, groups, passages = code.arguments
    kind = INT32 if wide else UINT16

    def passage(p: Any) -> tuple[()]:
        ids = code.pointer(code.load_index(addresses, p, INT64))
        length = code.load_index(lengths, p, INT64)
        last = code.plus(length, number(-1))

        def group(g: Any, total: Any) -> tuple[Any]:
            def token(i: Any, best: Any) -> tuple[Any]:
                ahead = code.load_index(ids, code.least(code.plus(i, number(_AHEAD)), last), kind)
                code.prefetch(code.at(scores, code.times(ahead, groups), LANE_FLOATS))
                centroid = code.times(code.load_index(ids, i, kind), groups)
                return (code.greater(code.load(scores, code.plus(centroid, g), LANE_FLOATS), best),)

            (best,) = code.loop(length, token, [ZEROS])
            return (code.add(total, best),)

        (total,) = code.loop(groups, group, [ZEROS])
        code.store(code.sum_of(total), sums, p)
        return ()

    code.loop(passages, passage)
    return code.compiled()
