"""The nearest of some centroids for many vectors on the processor: product and maximum in one pass, in threads of our own.

A lane of the processor's vectors is a centroid. No similarity is written to memory.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from pgretrieval.numerics.kernels import by_lanes, products_of
from pgretrieval.numerics.llvm import ADDRESS, FLOAT, INT32, INT64, LANE_FLOATS, LANES, LOWEST, NUMBERS, Code, number
from pgretrieval.numerics.parallel import in_parallel, part_size
from pgretrieval.types import Float32Array, Int32Array

_TOGETHER = 6  # vectors compared at once: each centroid value that is loaded serves all of them
_VECTORS_AT_LEAST = 4096  # vectors that one thread compares before a second has woken


class Centroids:
    """Centroids (centroids, dim) to compare vectors with, by inner product less `handicaps` (centroids,)."""

    def __init__(self, centroids: Float32Array, handicaps: Float32Array | None = None) -> None:
        self._lanes = by_lanes(centroids)
        self._starts = np.full(len(self._lanes) * LANES, -np.inf, dtype=np.float32)  # lanes that are left over stay the last
        self._starts[: len(centroids)] = 0 if handicaps is None else -handicaps

    def nearest(self, vectors: Float32Array) -> Int32Array:
        """Return the position of the nearest centroid of each vector (vectors, dim), the first of equal ones."""
        best = np.empty(len(vectors), dtype=np.float32)
        chosen = np.empty(len(vectors), dtype=np.int32)
        at_once = part_size(len(vectors), _VECTORS_AT_LEAST)

        def part(start: int) -> None:
            some = slice(start, start + at_once)
            rows = np.arange(len(vectors[some]), dtype=np.int32)
            best[some], chosen[some] = self.compare(vectors[some], rows)

        in_parallel(part, range(0, len(vectors), at_once))
        return chosen

    def compare(self, vectors: Float32Array, rows: Int32Array) -> tuple[Float32Array, Int32Array]:
        """Return the highest closeness of some rows of (vectors, dim), and its centroid's position (rows,)."""
        closeness, positions = np.empty(len(rows), dtype=np.float32), np.empty(len(rows), dtype=np.int32)
        if len(rows):
            arrays = (closeness, positions, np.ascontiguousarray(rows), np.ascontiguousarray(vectors), self._lanes, self._starts)
            _kernel(vectors.shape[1])(*(array.ctypes.data for array in arrays), len(self._lanes), len(rows))
        return closeness, positions


@cache
def _kernel(dim: int) -> Callable[..., None]:
    code = Code([ADDRESS, ADDRESS, ADDRESS, ADDRESS, ADDRESS, ADDRESS, INT64, INT64])
    closeness, positions, rows, vectors, lanes, starts, groups, count = code.arguments
    last = code.plus(count, number(-1))

    def some(first: Any) -> tuple[()]:
        places = [code.least(code.plus(first, number(other)), last) for other in range(_TOGETHER)]
        here = [code.at(vectors, code.times(code.load_index(rows, place, INT32), number(dim)), FLOAT) for place in places]

        def group(g: Any, *carried: Any) -> list[Any]:
            members = code.at(lanes, code.times(g, number(dim)), LANE_FLOATS)
            start = code.load(starts, g, LANE_FLOATS)
            products = products_of(code, members, here, dim, start)
            here_now, best, where = code.positions(g), carried[:_TOGETHER], carried[_TOGETHER:]
            return [
                *(code.greater(product, one) for product, one in zip(products, best, strict=True)),
                *(
                    code.where_greater(product, one, here_now, place)
                    for product, one, place in zip(products, best, where, strict=True)
                ),
            ]

        found = code.loop(groups, group, [LOWEST] * _TOGETHER + [NUMBERS] * _TOGETHER)
        for place, best, where in zip(places, found[:_TOGETHER], found[_TOGETHER:], strict=True):
            value, position = code.first_of_greatest(best, where)
            code.store(value, closeness, place)
            code.store(position, positions, place)
        return ()

    code.loop(count, some, step=_TOGETHER)
    return code.compiled()
