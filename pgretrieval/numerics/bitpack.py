"""Packing of small integers into bytes, most significant bits first.

A token's bucket indices are written one after the other as `bits`-bit big-endian numbers, dimension 0 in the highest bits of
byte 0, and padded with zero bits to whole bytes. Postgres's `bit` type uses the same order, so that a bit string built in SQL
from the same indices has the same bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pgretrieval.errors import ConfigError
from pgretrieval.types import Float32Array

if TYPE_CHECKING:  # what is decoded without torch needs the layout, too
    from torch import Tensor

SUPPORTED_BITS = (1, 2, 4)


def values_per_byte(bits: int) -> int:
    """Return the number of `bits`-bit values in a byte. Raises ConfigError unless bits is 1, 2 or 4."""
    if bits not in SUPPORTED_BITS:
        msg = f"bits is {bits!r}; the residual codec supports 1, 2 and 4"
        raise ConfigError(msg)
    return 8 // bits


def packed_width(dim: int, bits: int) -> int:
    """Return the bytes of one token's residual."""
    per_byte = values_per_byte(bits)
    return -(-dim // per_byte)


def _shifts(bits: int) -> range:
    return range(8 - bits, -1, -bits)


def pack(values: Tensor, bits: int) -> Tensor:
    """(tokens, dim) uint8 values below 2**bits -> (tokens, packed_width) uint8."""
    per_byte = values_per_byte(bits)
    tokens, dim = values.shape
    padded = values.new_zeros((tokens, packed_width(dim, bits) * per_byte))
    padded[:, :dim] = values
    groups = padded.view(tokens, -1, per_byte)
    return (groups << values.new_tensor(_shifts(bits))).sum(dim=2, dtype=values.dtype)


def unpack(packed: Tensor, dim: int, bits: int) -> Tensor:
    """(tokens, packed_width) uint8 -> (tokens, dim) uint8, the inverse of `pack`."""
    values_per_byte(bits)
    values: Tensor = (packed.unsqueeze(2) >> packed.new_tensor(_shifts(bits))) & (2**bits - 1)
    return values.flatten(1)[:, :dim]


def byte_table(levels: Float32Array, bits: int) -> Float32Array:
    """(2**bits,) levels -> (256, values per byte): the values of each packed byte."""
    values_per_byte(bits)
    table: Float32Array = levels[(np.arange(256)[:, None] >> np.array(_shifts(bits))) & (2**bits - 1)]
    return table
