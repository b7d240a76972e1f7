"""Postgres's binary formats of arrays and half-precision vectors, built and read by numpy for whole batches."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from pgretrieval.types import ByteArray, Float32Array, Int32Array, Int64Array

_INT4_OID = 23
_FLOAT4_OID = 700
_ARRAY_HEADER = struct.Struct(">iiIii")  # dimensions, has nulls, element type, length, lower bound
_ELEMENT_HEADER = 8  # int4 byte length, int2 dimension, int2 unused
_CENTROIDS_OF_TWO_BYTES = 1 << 16


def halfvec_fields(vectors: Float32Array) -> list[bytes]:
    """(rows, dim) -> one `halfvec` field per row."""
    half = _with_headers(vectors)[:, 4:]
    return [row.tobytes() for row in half]


def vector_fields(vectors: Float32Array) -> list[bytes]:
    """(rows, dim) -> one `vector` field per row."""
    head = struct.pack(">hh", vectors.shape[1], 0)
    return [head + row.tobytes() for row in vectors.astype(">f4")]


def read_vectors(fields: Sequence[bytes]) -> Float32Array:
    """`vector` fields of one dimension -> (rows, dim)."""
    raw = np.frombuffer(b"".join(fields), dtype=np.uint8).reshape(len(fields), -1)[:, 4:]
    return np.ascontiguousarray(raw).view(">f4").astype(np.float32)


def halfvec_array_fields(vectors: Float32Array, offsets: Int64Array, element_type: int) -> Iterator[bytes]:
    """(tokens, dim) and passage offsets -> one `halfvec[]` field per passage."""
    elements = _with_headers(vectors)
    for start, end in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
        yield _ARRAY_HEADER.pack(1, 0, element_type, end - start, 1) + elements[start:end].tobytes()


def int4_array_fields(values: Int32Array, offsets: Int64Array) -> Iterator[bytes]:
    """Concatenated int4 lists and their offsets -> one `int4[]` field per list."""
    elements = np.empty((len(values), 2), dtype=">i4")
    elements[:, 0] = 4
    elements[:, 1] = values
    for start, end in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
        yield _ARRAY_HEADER.pack(1, 0, _INT4_OID, end - start, 1) + elements[start:end].tobytes()


def int4_array(values: Int32Array) -> bytes:
    """(n,) -> an `int4[]` field."""
    return _array(values, _INT4_OID, ">i4")


def float4_array(values: Float32Array) -> bytes:
    """(n,) -> a `float4[]` field."""
    return _array(values, _FLOAT4_OID, ">f4")


def _array(values: Int32Array | Float32Array, element_type: int, form: str) -> bytes:
    elements = np.empty(len(values), dtype=[("length", ">i4"), ("value", form)])
    elements["length"] = 4
    elements["value"] = values
    return _ARRAY_HEADER.pack(1, 0, element_type, len(values), 1) + elements.tobytes()


def read_int4_arrays(fields: Sequence[bytes]) -> tuple[Int32Array, Int64Array]:
    """`int4[]` fields without nulls -> all their values, and (fields,) their lengths."""
    elements = [field[_ARRAY_HEADER.size :] for field in fields]
    values = np.frombuffer(b"".join(elements), dtype=">i4")[1::2].astype(np.int32)  # each comes after its length
    return values, np.array(list(map(len, elements)), dtype=np.int64) // _ELEMENT_HEADER


def id_bytes(centroids: int) -> int:
    """Return how many bytes each id takes in `token_code.centroid_ids` where there are so many centroids: `codebook.id_bytes`."""
    return 2 if centroids <= _CENTROIDS_OF_TWO_BYTES else 4


def centroid_ids_field(centroid_ids: Int32Array, centroids: int) -> bytes:
    """(tokens,) -> a field of `token_code.centroid_ids`."""
    return centroid_ids.astype(f"<u{id_bytes(centroids)}").tobytes()


def read_centroid_ids(fields: Sequence[bytes], centroids: int) -> tuple[Int64Array, Int32Array]:
    """Fields of `token_code.centroid_ids` -> offsets of their tokens, and all ids."""
    return id_offsets(list(map(len, fields)), centroids), joined_ids(b"".join(fields), centroids)


def id_offsets(lengths: Sequence[int], centroids: int) -> Int64Array:
    """Bytes of fields of `token_code.centroid_ids` -> offsets of their tokens."""
    return offsets_of(lengths) // id_bytes(centroids)


def joined_ids(fields: bytes, centroids: int) -> Int32Array:
    """Fields of `token_code.centroid_ids`, one after the other -> all ids."""
    return np.frombuffer(fields, dtype=f"<u{id_bytes(centroids)}").astype(np.int32)


def read_halfvecs(fields: Sequence[bytes]) -> Float32Array:
    """`halfvec` fields of one dimension -> (rows, dim), by numpy: `check` reads centroids without importing torch."""
    raw = np.frombuffer(b"".join(fields), dtype=np.uint8).reshape(len(fields), -1)[:, 4:]
    return np.ascontiguousarray(raw).view(">f2").astype(np.float32)


def read_halfvec_arrays(fields: Sequence[bytes]) -> tuple[Float32Array, Int64Array]:
    """`halfvec[]` fields of one dimension -> all their vectors (tokens, dim), and offsets of the passages and of the end."""
    stride = 4 + int.from_bytes(fields[0][_ARRAY_HEADER.size :][:4], "big")
    raw = np.frombuffer(b"".join(field[_ARRAY_HEADER.size :] for field in fields), dtype=np.uint8)
    lengths = [(len(field) - _ARRAY_HEADER.size) // stride for field in fields]
    return _floats(raw.reshape(-1, stride)[:, _ELEMENT_HEADER:]), offsets_of(lengths)


def offsets_of(lengths: Sequence[int] | Int64Array) -> Int64Array:
    """Lengths -> offsets, with a leading zero."""
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64)


def _with_headers(vectors: Float32Array) -> ByteArray:
    rows, dim = vectors.shape
    out = np.empty((rows, _ELEMENT_HEADER + 2 * dim), dtype=np.uint8)
    out[:, :_ELEMENT_HEADER] = np.frombuffer(struct.pack(">ihh", 4 + 2 * dim, dim, 0), dtype=np.uint8)
    out.view(np.uint16)[:, _ELEMENT_HEADER // 2 :] = _rounded(vectors).byteswap()
    return out


def _rounded(vectors: Float32Array) -> NDArray[np.uint16]:
    """Return the bits of the nearest numbers of half precision, by torch: numpy takes ten times as long."""
    import torch

    halves: NDArray[np.uint16] = torch.from_numpy(np.ascontiguousarray(vectors)).half().numpy().view(np.uint16)
    return halves


def _floats(raw: ByteArray) -> Float32Array:
    """Return big-endian numbers of half precision in bytes (rows, 2 * dim) as floats (rows, dim), by torch as well."""
    import torch

    bits = np.ascontiguousarray(raw).view(np.uint16).byteswap()
    vectors: Float32Array = torch.from_numpy(bits.view(np.float16)).float().numpy()
    return vectors
