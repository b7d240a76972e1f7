"""Binary formats: numpy reads what it writes, in the bytes that Postgres documents."""

from __future__ import annotations

import struct

import numpy as np

from pgretrieval.db.wire import (
    float4_array,
    halfvec_array_fields,
    halfvec_fields,
    int4_array,
    int4_array_fields,
    offsets_of,
    read_halfvec_arrays,
    read_halfvecs,
    read_int4_arrays,
)


def test_halfvec_is_dimension_zero_and_big_endian_halves() -> None:
    (field,) = halfvec_fields(np.array([[1.0, -2.0]], dtype=np.float32))
    assert field == struct.pack(">hhee", 2, 0, 1.0, -2.0)


def test_int4_array() -> None:
    first, second = int4_array_fields(np.array([5, 6, 7], dtype=np.int32), np.array([0, 1, 3]))
    assert first == struct.pack(">iiIiiii", 1, 0, 23, 1, 1, 4, 5)
    assert second == struct.pack(">iiIiiiiii", 1, 0, 23, 2, 1, 4, 6, 4, 7)


def test_int4_arrays_come_back() -> None:
    """Arrays are separated correctly, empty ones included."""
    empty = struct.pack(">iiI", 0, 0, 23)
    first, second = int4_array_fields(np.array([5, -6, 7], dtype=np.int32), np.array([0, 1, 3]))
    values, lengths = read_int4_arrays([first, empty, second])
    assert (values.tolist(), lengths.tolist()) == ([5, -6, 7], [1, 0, 2])
    assert read_int4_arrays([])[0].tolist() == []


def test_halfvec_arrays_come_back() -> None:
    vectors = np.random.default_rng(0).normal(size=(7, 48)).astype(np.float16).astype(np.float32)
    fields = list(halfvec_array_fields(vectors, np.array([0, 2, 7]), 12345))
    back, offsets = read_halfvec_arrays(fields)
    np.testing.assert_array_equal(back, vectors)
    assert offsets.tolist() == [0, 2, 7]
    np.testing.assert_array_equal(read_halfvecs(halfvec_fields(vectors)), vectors)


def test_offsets() -> None:
    assert offsets_of([3, 1]).tolist() == [0, 3, 4]
    assert offsets_of([]).tolist() == [0]


def test_parameters_are_arrays_with_their_lengths() -> None:
    """Headers and byte order are those of Postgres."""
    assert int4_array(np.array([5, -1], dtype=np.int32)) == struct.pack(">iiIiiiiii", 1, 0, 23, 2, 1, 4, 5, 4, -1)
    assert float4_array(np.array([0.5], dtype=np.float32)) == struct.pack(">iiIiiif", 1, 0, 700, 1, 1, 4, 0.5)
    assert int4_array(np.array([], dtype=np.int32)) == struct.pack(">iiIii", 1, 0, 23, 0, 1)
