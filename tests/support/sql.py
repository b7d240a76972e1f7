"""Vectors as SQL literals, as an application in another language writes them."""

from __future__ import annotations

from pgretrieval.types import Float32Array


def vector_array(rows: Float32Array) -> str:
    """(tokens, dim) -> the text of a `vector[]`."""
    return "{" + ",".join('"[' + ",".join(repr(float(value)) for value in row) + ']"' for row in rows) + "}"
