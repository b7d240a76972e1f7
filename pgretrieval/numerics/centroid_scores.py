"""Products of a query with all centroids, the best centroids of each query token, and MaxSim over centroids.

The scores stay in the layout in which they are computed, a lane of the processor's vectors for each query token. A row of the
scores is a centroid, so that the maximum over a passage's tokens is a maximum of whole rows.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from pgretrieval.numerics.kernels import by_lanes, check_centroids
from pgretrieval.numerics.llvm import ADDRESS, FLOAT, INT32, INT64, LANE_FLOATS, LANES, ZEROS, Code, number
from pgretrieval.numerics.maxsim import blocks
from pgretrieval.numerics.parallel import in_parallel, part_size
from pgretrieval.types import Float32Array, Int32Array, Int64Array

_TOGETHER = 4  # centroids multiplied at once: each query value that is loaded serves all of them
_BLOCK = 64  # centroids whose maximum is kept, to find the best without looking at all
_BLOCKS_AT_LEAST = 64  # blocks that one thread multiplies before a second has woken
_TOKENS_AT_LEAST = 16_384  # tokens that one thread compares before a second has woken
_AHEAD = 8  # tokens between the request for a centroid's scores and their use


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

    def maxsim(self, centroid_ids: Int32Array, offsets: Int64Array) -> Float32Array:
        """Return MaxSim (passages,) of the query with passages of these centroids (tokens,), at least 0 for each query token.

        Raises StorageError for a centroid that the codebook does not have.
        """
        check_centroids(centroid_ids, self.centroids)

        def part(passages: tuple[int, int]) -> Float32Array:
            first, last = passages
            starts = offsets[first : last + 1]
            ids = np.ascontiguousarray(centroid_ids[starts[0] : starts[-1]])
            owners = np.repeat(np.arange(last - first, dtype=np.int32), np.diff(starts))
            best = np.zeros((last - first, self._maxima.shape[1]), dtype=np.float32)
            if len(ids):
                arrays = (best, owners, self._scores)
                _best_kernel()(*(array.ctypes.data for array in arrays), len(self._lanes), ids.ctypes.data, len(ids))
            scores: Float32Array = best[:, : self.tokens].sum(axis=1)
            return scores

        ranges = blocks(offsets, part_size(len(centroid_ids), _TOKENS_AT_LEAST))
        return np.concatenate(in_parallel(part, ranges)) if ranges else np.empty(0, dtype=np.float32)

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

            def dimension(d: Any, *sums: Any) -> list[Any]:
                values = code.load(lanes, d, LANE_FLOATS)
                pairs = zip(vectors, sums, strict=True)
                return [code.add_product(total, code.everywhere(code.load(one, d, FLOAT)), values) for one, total in pairs]

            products = code.loop(number(dim), dimension, [ZEROS] * _TOGETHER)
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
def _best_kernel() -> Callable[..., None]:
    """The greatest (rows, groups, LANES) of the scores of the centroids of the tokens that each row owns, and of what it was."""
    code = Code([ADDRESS, ADDRESS, ADDRESS, INT64, ADDRESS, INT64])
    best, owners, scores, groups, ids, tokens = code.arguments
    last = code.plus(tokens, number(-1))

    def token(i: Any) -> tuple[()]:
        ahead = code.load_index(ids, code.least(code.plus(i, number(_AHEAD)), last), INT32)
        code.prefetch(code.at(scores, code.times(ahead, groups), LANE_FLOATS))
        centroid = code.times(code.load_index(ids, i, INT32), groups)
        row = code.times(code.load_index(owners, i, INT32), groups)

        def group(g: Any) -> tuple[()]:
            place = code.plus(row, g)
            score = code.load(scores, code.plus(centroid, g), LANE_FLOATS)
            code.store(code.greater(score, code.load(best, place, LANE_FLOATS)), best, place)
            return ()

        code.loop(groups, group)
        return ()

    code.loop(tokens, token)
    return code.compiled()
