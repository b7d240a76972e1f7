"""Binary formats: numpy reads what it writes, in the bytes that Postgres documents."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from pgretrieval.db.wire import (
    centroid_ids_field,
    float4_array,
    halfvec_array_fields,
    halfvec_fields,
    int4_array,
    int4_array_fields,
    offsets_of,
    read_centroid_ids,
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


@pytest.mark.parametrize(("centroids", "bytes_each"), [(65_536, 2), (65_537, 4)])
def test_centroid_ids_come_back(centroids: int, bytes_each: int) -> None:
    """Ids take two bytes without a sign where the codebook has no more than these number, else four."""
    ids = np.array([0, 258, centroids - 1], dtype=np.int32)
    field = centroid_ids_field(ids, centroids)
    assert len(field) == 3 * bytes_each
    assert field[bytes_each : bytes_each + 2] == b"\x02\x01"
    offsets, back = read_centroid_ids([field[:bytes_each], b"", field[bytes_each:]], centroids)
    assert (offsets.tolist(), back.tolist()) == ([0, 1, 1, 3], ids.tolist())
    assert back.dtype == np.int32


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


def test_halves_are_rounded_as_numpy_rounds() -> None:
    """Ties go to even numbers; the smallest and the largest halves, and numbers between them, are as numpy's."""
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    finite = np.sort(halves[np.isfinite(halves)].astype(np.float32))
    numbers = np.concatenate([finite, (finite[1:] + finite[:-1]) / 2])[:, None]
    field = b"".join(field[4:] for field in halfvec_fields(numbers))
    assert field == numbers.astype(">f2").tobytes()
    np.testing.assert_array_equal(read_halfvecs(halfvec_fields(finite[:, None])), finite[:, None])
