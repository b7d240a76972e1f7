"""Texts to vectors, as numbers and as literals for Postgres."""

from __future__ import annotations

from typing import Any

import numpy as np

from pgretrieval.collection import Collection
from pgretrieval.errors import InputError
from pgretrieval.serve.requests import EncodeRequest
from pgretrieval.types import Float32Array

_DIGITS = "%.9g"  # enough to read the same single-precision number again


def encode(asked: EncodeRequest, collection: Collection) -> bytes:
    """Return the answer as JSON: pgvector's form of a vector is that of JSON, so both are written at once."""
    if (asked.queries is None) == (asked.documents is None):
        msg = "the request has both queries and documents, or neither; give one of them"
        raise InputError(msg)
    opened = collection._opened
    opened.forget_old_encoder()
    encoder = collection.encoder
    texts, kind = (asked.queries, "query") if asked.queries is not None else (asked.documents, "document")
    dense: Any = None
    if opened.makes_dense(encoder):
        arrays, dense = getattr(encoder, f"encode_{kind}_with_dense")(texts)
    else:
        arrays = getattr(encoder, f"encode_{kind}")(texts)
    written = [_vectors(array) for array in arrays]
    parts = {"vectors": _array(_array(vectors) for vectors in written), "literals": _array(map(_literal, written))}
    if dense is not None:
        rows = _vectors(dense)
        parts |= {"dense": _array(rows), "dense_literals": _array(f'"{row}"' for row in rows)}
    return ("{" + ",".join(f'"{name}":{part}' for name, part in parts.items()) + "}").encode()


def _vectors(array: Float32Array) -> list[str]:
    """Return the rows of an array (rows, dim), each as pgvector and JSON write it."""
    row = "[" + ",".join([_DIGITS] * array.shape[1]) + "]"
    return [row % tuple(values) for values in np.asarray(array).tolist()]


def _array(parts: Any) -> str:
    return "[" + ",".join(parts) + "]"


def _literal(vectors: list[str]) -> str:
    """Return a literal of vector[] as a text of JSON."""
    return '"{' + ",".join(f'\\"{vector}\\"' for vector in vectors) + '}"'
