"""Residuals of vectors as packed bucket numbers, in one pass: difference, comparison with the cut-offs, packing."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from pgretrieval.numerics.bitpack import packed_width
from pgretrieval.numerics.llvm import ADDRESS, FLOAT, INT32, INT64, LANE_FLOATS, LANES, Code, number
from pgretrieval.numerics.parallel import in_parallel, part_size
from pgretrieval.types import ByteArray, Float32Array, Int32Array

_TOKENS_AT_LEAST = 8192  # tokens that one thread packs before a second has woken


def pack_residuals(
    vectors: Float32Array, centroids: Float32Array, centroid_ids: Int32Array, cutoffs: Float32Array, bits: int
) -> ByteArray:
    """(tokens, dim) vectors and their centroids -> (tokens, packed_width): in each dimension the number of cut-offs below."""
    tokens, dim = vectors.shape
    padding = ((0, 0), (0, -dim % LANES))
    if padding[1][1]:
        vectors, centroids = np.pad(vectors, padding), np.pad(centroids, padding)
    arrays = [np.ascontiguousarray(array) for array in (vectors, centroid_ids.astype(np.int32, copy=False), centroids, cutoffs)]
    packed = np.empty((tokens, vectors.shape[1] * bits // 8), dtype=np.uint8)
    at_once = part_size(tokens, _TOKENS_AT_LEAST)
    kernel = _kernel(vectors.shape[1], bits)

    def part(start: int) -> None:
        rows, ids, *shared = arrays
        some = slice(start, start + at_once)
        kernel(*(array.ctypes.data for array in (packed[some], rows[some], ids[some], *shared)), len(ids[some]))

    in_parallel(part, range(0, tokens, at_once))
    if padding[1][1]:
        packed = packed[:, : packed_width(dim, bits)].copy()
        packed[:, -1] &= 256 - 2 ** (-dim * bits % 8)  # what is left over of the last byte is 0
    return packed


@cache
def _kernel(depth: int, bits: int) -> Callable[..., None]:
    code = Code([ADDRESS, ADDRESS, ADDRESS, ADDRESS, ADDRESS, INT64])
    packed, vectors, ids, centroids, cutoffs, tokens = code.arguments
    limits = [code.load(cutoffs, number(place), FLOAT) for place in range(2**bits - 1)]

    def token(i: Any) -> tuple[()]:
        vector = code.at(vectors, code.times(i, number(depth)), FLOAT)
        centroid = code.at(centroids, code.times(code.load_index(ids, i, INT32), number(depth)), FLOAT)
        target = code.times(i, number(depth * bits // 8))

        def part(d: Any) -> tuple[()]:
            residual = code.subtract(code.load(vector, d, LANE_FLOATS), code.load(centroid, d, LANE_FLOATS))
            place = code.plus(target, code.times(d, number(LANES * bits // 8)))
            code.store_packed(code.count_below(residual, limits), bits, packed, place)
            return ()

        code.loop(number(depth // LANES), part)
        return ()

    code.loop(tokens, token)
    return code.compiled()
