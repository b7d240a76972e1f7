"""Codes to vectors, in numpy alone: a check of a collection decodes all its codes without torch."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from pgretrieval.numerics.bitpack import byte_table, packed_width
from pgretrieval.types import ByteArray, Float32Array, Int32Array


class Decoder:
    """Centroids (count, dim), and the (2**bits,) levels that the residuals of a codec decode to."""

    def __init__(self, centroids: Float32Array, levels: Float32Array, bits: int) -> None:
        self.centroids = centroids
        self.levels = levels
        self.bits = bits

    @cached_property
    def width(self) -> int:
        """Bytes of a token's residual."""
        return packed_width(self.centroids.shape[1], self.bits)

    def decode(self, centroid_ids: Int32Array, packed: ByteArray) -> Float32Array:
        """(tokens,) centroid ids and (tokens, width) packed residuals -> (tokens, dim) vectors, not re-normalised."""
        keys = packed if self.width % 2 else packed.view(np.uint16)
        values = keys.shape[1] * self._table.shape[1]
        decoded = self._table.take(keys, axis=0).reshape(len(packed), values)[:, : self.centroids.shape[1]]
        vectors: Float32Array = self.centroids.take(centroid_ids, axis=0)
        vectors += decoded
        return vectors

    @cached_property
    def _table(self) -> Float32Array:
        """What one packed byte stands for, or two bytes at a time where tokens have an even number of them."""
        single = byte_table(self.levels, self.bits)
        if self.width % 2:
            return single
        pairs = np.arange(2**16, dtype=np.uint16).view(np.uint8).reshape(-1, 2)
        return np.ascontiguousarray(single[pairs].reshape(2**16, -1))
