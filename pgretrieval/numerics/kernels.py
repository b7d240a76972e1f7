"""MaxSim in one pass: codes are decoded in blocks that stay in the nearest cache, and no vector is written to memory.

A lane of the processor's vectors is a query token, so that the best token of a passage is a maximum of whole vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir

from pgretrieval.errors import StorageError
from pgretrieval.numerics.bitpack import packed_width
from pgretrieval.numerics.llvm import ADDRESS, BYTE, FLOAT, INT32, INT64, LANE_FLOATS, LANES, ZEROS, Code, number
from pgretrieval.types import ByteArray, Float32Array, Int32Array

_TOGETHER = 4  # tokens multiplied at once: each query value that is loaded serves all of them
_BLOCK = 16  # tokens decoded at once: 8 KB of 128 dimensions
_LINE = 16  # floats of a cache line


class CodeScorer:
    """MaxSim over codes of (centroids, dim) and the (256, values per byte) table of a codec; of unit vectors if `unit`."""

    def __init__(self, centroids: Float32Array, table: Float32Array, *, unit: bool) -> None:
        self.dim = centroids.shape[1]
        depth = _whole_lanes(packed_width(self.dim, 8 // table.shape[1]) * table.shape[1])
        self._centroids = (
            np.pad(centroids, ((0, 0), (0, depth - self.dim))) if depth != self.dim else np.ascontiguousarray(centroids)
        )
        self._table = np.ascontiguousarray(table)
        self._score = _code_kernel(self.dim, table.shape[1], unit)

    def best(
        self, query: Float32Array, centroid_ids: Int32Array, residuals: ByteArray, owners: Int32Array, rows: int
    ) -> Float32Array:
        """`by_lanes` query and codes of tokens -> (rows, groups, LANES): of each row the best similarity of the tokens it owns.

        `owners` (tokens,) are their rows. A row without tokens has -inf.
        """
        best = np.full((rows, len(query), LANES), -np.inf, dtype=np.float32)
        self.raise_to(best, query, centroid_ids, residuals, owners)
        return best

    def raise_to(
        self, best: Float32Array, query: Float32Array, centroid_ids: Int32Array, residuals: ByteArray, owners: Int32Array
    ) -> None:
        """Raise `best` (rows, groups, LANES), of one piece in memory, to the best similarity of the tokens that each row owns."""
        self._check(centroid_ids, residuals)
        ids, packed, owned = (np.ascontiguousarray(array) for array in (centroid_ids, residuals, owners))
        if len(ids):
            self._score(
                best.ctypes.data,
                owned.ctypes.data,
                query.ctypes.data,
                len(query),
                ids.ctypes.data,
                packed.ctypes.data,
                self._table.ctypes.data,
                self._centroids.ctypes.data,
                len(ids),
            )

    def _check(self, centroid_ids: Int32Array, residuals: ByteArray) -> None:
        """Raise StorageError for codes that would be read beyond the codebook."""
        count, width = len(centroid_ids), packed_width(self.dim, 8 // self._table.shape[1])
        if residuals.shape != (count, width):
            msg = (
                f"{count} tokens have residuals of shape {residuals.shape}, not {width} bytes each; `pgretrieval check` finds where"
            )
            raise StorageError(msg)
        check_centroids(centroid_ids, len(self._centroids))


def check_centroids(centroid_ids: Int32Array, centroids: int) -> None:
    """Raise StorageError for ids (tokens,) of centroids that the codebook does not have."""
    least, most = (int(centroid_ids.min()), int(centroid_ids.max())) if len(centroid_ids) else (0, 0)
    if least < 0 or most >= centroids:
        msg = f"codes name centroids {least} to {most}, the codebook has {centroids}; `pgretrieval check` finds where"
        raise StorageError(msg)


def best_of_vectors(query: Float32Array, vectors: Float32Array, owners: Int32Array, rows: int) -> Float32Array:
    """`CodeScorer.best` of (tokens, dim) vectors as they are."""
    best = np.full((rows, len(query), LANES), -np.inf, dtype=np.float32)
    tokens, owned = np.ascontiguousarray(vectors), np.ascontiguousarray(owners)
    if len(tokens):
        score = _vector_kernel(tokens.shape[1])
        score(best.ctypes.data, owned.ctypes.data, query.ctypes.data, len(query), tokens.ctypes.data, len(tokens))
    return best


def by_lanes(query: Float32Array) -> Float32Array:
    """(query tokens, dim) -> (groups, dim, LANES): a lane each, 0 in those that are left over."""
    groups = -(-len(query) // LANES)
    padded = np.zeros((groups * LANES, query.shape[1]), dtype=np.float32)
    padded[: len(query)] = query
    return np.ascontiguousarray(padded.reshape(groups, LANES, -1).transpose(0, 2, 1))


def _whole_lanes(values: int) -> int:
    return -(-values // LANES) * LANES


@cache
def _code_kernel(dim: int, per_byte: int, unit: bool) -> Callable[..., None]:
    width = packed_width(dim, 8 // per_byte)
    depth = _whole_lanes(width * per_byte)
    word = INT64 if per_byte == 2 else ir.VectorType(FLOAT, per_byte)
    code = Code([ADDRESS, ADDRESS, ADDRESS, INT64, ADDRESS, ADDRESS, ADDRESS, ADDRESS, INT64])
    best, owners, query, groups, ids, packed, table, centroids, tokens = code.arguments
    block, scales = code.floats(_BLOCK * depth), code.floats(_BLOCK)
    last = code.plus(tokens, number(-1))

    def score_block(first: Any) -> tuple[()]:
        def token(i: Any) -> Any:
            """The position of the block's token i; at the end the last one again, whose maximum stays what it is."""
            return code.least(code.plus(first, i), last)

        def vector(i: Any) -> Any:
            return code.at(block, code.times(i, number(depth)), FLOAT)

        def centroid(i: Any) -> Any:
            return code.at(centroids, code.times(code.load_index(ids, token(i), INT32), number(depth)), FLOAT)

        def look_up(i: Any) -> tuple[()]:
            here = centroid(i)
            for start in range(0, dim, _LINE):
                code.prefetch(code.at(here, number(start), FLOAT))
            residual, keys = vector(i), code.at(packed, code.times(token(i), number(width)), BYTE)

            def one_byte(b: Any) -> tuple[()]:
                code.store(code.load(table, code.load_index(keys, b, BYTE), word), residual, b)
                return ()

            code.loop(number(width), one_byte)
            for beyond in range(dim, depth):
                code.store(ir.Constant(FLOAT, 0.0), residual, number(beyond))
            return ()

        def add_centroid(i: Any) -> tuple[()]:
            here, there = vector(i), centroid(i)

            def part(d: Any, squares: Any) -> tuple[Any]:
                summed = code.add(code.load(here, d, LANE_FLOATS), code.load(there, d, LANE_FLOATS))
                code.store(summed, here, d)
                return (code.add_product(squares, summed, summed),)

            (squares,) = code.loop(number(depth // LANES), part, [ZEROS])
            if unit:
                code.store(code.inverse_root_of_sum(squares), scales, i)
            return ()

        code.loop(number(_BLOCK), look_up)
        code.loop(number(_BLOCK), add_centroid)  # apart from the look-ups: what these store is read in wider pieces
        target = _Target(code, best, owners)

        def score_some(i: Any) -> tuple[()]:
            some = [code.plus(i, number(other)) for other in range(_TOGETHER)]
            factors = [code.load(scales, one, FLOAT) for one in some] if unit else None
            target.take([vector(one) for one in some], [token(one) for one in some], factors, query, groups, dim)
            return ()

        code.loop(number(_BLOCK), score_some, step=_TOGETHER)
        return ()

    code.loop(tokens, score_block, step=_BLOCK)
    return code.compiled()


@cache
def _vector_kernel(dim: int) -> Callable[..., None]:
    code = Code([ADDRESS, ADDRESS, ADDRESS, INT64, ADDRESS, INT64])
    best, owners, query, groups, vectors, tokens = code.arguments
    last = code.plus(tokens, number(-1))
    target = _Target(code, best, owners)

    def score_some(first: Any) -> tuple[()]:
        some = [code.least(code.plus(first, number(other)), last) for other in range(_TOGETHER)]
        addresses = [code.at(vectors, code.times(one, number(dim)), FLOAT) for one in some]
        target.take(addresses, some, None, query, groups, dim)
        return ()

    code.loop(tokens, score_some, step=_TOGETHER)
    return code.compiled()


def products_of(code: Code, lanes: Any, vectors: Sequence[Any], dim: int, start: Any) -> list[Any]:
    """Append the products of some vectors with (dim, LANES), a vector of lanes each, added to `start`.

    Each value of the lanes that is loaded serves all of the vectors.
    """

    def dimension(d: Any, *sums: Any) -> list[Any]:
        values = code.load(lanes, d, LANE_FLOATS)
        pairs = zip(vectors, sums, strict=True)
        return [code.add_product(total, code.everywhere(code.load(one, d, FLOAT)), values) for one, total in pairs]

    return code.loop(number(dim), dimension, [start] * len(vectors))


@dataclass(frozen=True)
class _Target:
    """(rows, groups, LANES) maxima, and the row that each token counts for."""

    code: Code
    best: Any
    owners: Any

    def take(self, vectors: list[Any], tokens: list[Any], factors: list[Any] | None, query: Any, groups: Any, dim: int) -> None:
        """Append products of some vectors, perhaps times a factor, with all query tokens, and the maxima with what there is."""
        code = self.code

        def group(g: Any) -> tuple[()]:
            lanes = code.at(query, code.times(g, number(dim)), LANE_FLOATS)
            products = products_of(code, lanes, vectors, dim, ZEROS)
            if factors:
                products = [code.multiply(one, code.everywhere(factor)) for one, factor in zip(products, factors, strict=True)]
            for token, similarity in zip(tokens, products, strict=True):
                place = code.plus(code.times(code.load_index(self.owners, token, INT32), groups), g)
                code.store(code.greater(similarity, code.load(self.best, place, LANE_FLOATS)), self.best, place)
            return ()

        code.loop(groups, group)
