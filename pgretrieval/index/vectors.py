"""Checks token vectors that a caller or an encoder gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pgretrieval import validate
from pgretrieval.db.wire import offsets_of
from pgretrieval.errors import DimensionMismatchError, VectorError
from pgretrieval.types import Float32Array, TokenMatrix

MIN_DIM, MAX_DIM = 48, 1024
NOT_NUMBERS = (TypeError, ValueError, OverflowError)
"""What numpy raises for an array of what is no number, or is too large for one."""
HALF_AT_MOST = 65_504
MAX_DENSE_DIM = 4000  # of a halfvec under HNSW


def check_dim(dim: int) -> int:
    """Raises ConfigError for what is no whole number, DimensionMismatchError outside 48 to 1,024."""
    dim = validate.whole("dim", dim, -(2**63), 2**63)
    if not MIN_DIM <= dim <= MAX_DIM:
        msg = f"the vectors have {dim} dimensions; collections take {MIN_DIM} to {MAX_DIM}"
        raise DimensionMismatchError(msg)
    return dim


def token_array(vectors: Any, what: str, dim: int | None) -> Float32Array:
    """One passage's or query's vectors as (tokens, dim) float32.

    Raises VectorError, naming `what`, unless it is two-dimensional, has a token, is finite and has no zero row;
    DimensionMismatchError unless it has `dim` columns.
    """
    vectors = _on_host(vectors, f"the vectors of {what}")
    try:
        array = np.require(vectors, dtype=np.float32, requirements=["C", "W"])
    except NOT_NUMBERS as error:
        msg = f"the vectors of {what} are not an array of numbers (tokens, dim): {error}"
        raise VectorError(msg) from error
    if array.ndim != 2 or 0 in array.shape:
        msg = f"the vectors of {what} have shape {array.shape}; (tokens, dim) with at least one token is needed"
        raise VectorError(msg)
    if dim is not None and array.shape[1] != dim:
        msg = f"the vectors of {what} have {array.shape[1]} dimensions, the collection has {dim}"
        raise DimensionMismatchError(msg)
    check_dim(array.shape[1])
    if not np.isfinite(array).all():
        row = int(np.flatnonzero(~np.isfinite(array).all(axis=1))[0])
        msg = f"the vectors of {what} hold NaN or infinity (first at token {row})"
        raise VectorError(msg)
    if not array.any(axis=1).all():
        row = int(np.flatnonzero(~array.any(axis=1))[0])
        msg = f"the vectors of {what} hold a zero vector (first at token {row}), which has no direction; leave such tokens out"
        raise VectorError(msg)
    return array


def _on_host(vectors: Any, what: str) -> Any:
    """A tensor as an array, anything else as it is. Raises VectorError for what numpy would read otherwise than it is meant."""
    if isinstance(vectors, np.ma.MaskedArray):
        msg = f"{what} are a masked array, of which the masked numbers would count; give an array without a mask"
        raise VectorError(msg)
    if isinstance(vectors, str | bytes) or getattr(getattr(vectors, "dtype", None), "kind", "") == "c":
        msg = f"{what} are not an array of numbers: {validate.shown(vectors)}"
        raise VectorError(msg)
    return vectors.detach().cpu().float().numpy() if hasattr(vectors, "detach") else vectors


def check_counts(tokens: TokenMatrix, ids: Sequence[str], vectors_per_passage: int | None) -> None:
    """Raises VectorError, naming the first, unless every passage has so many vectors; None takes any number."""
    if vectors_per_passage is None:
        return
    wrong = np.flatnonzero(tokens.lengths != vectors_per_passage)
    if len(wrong):
        msg = (
            f"passage {ids[wrong[0]]!r} has {tokens.lengths[wrong[0]]} vectors, every passage of this collection has "
            f"{vectors_per_passage} (vectors_per_passage); give as many, or create a collection without that number"
        )
        raise VectorError(msg)


def dense_array(vector: Any, what: str, dim: int | None) -> Float32Array:
    """One dense vector as (dense dim,) float32.

    Raises VectorError, naming `what`, unless it is one row of finite numbers, not all zero, at most 4,000;
    DimensionMismatchError unless there are `dim`.
    """
    vector = _on_host(vector, f"the dense vector of {what}")
    try:
        array = np.asarray(vector, dtype=np.float32)
    except NOT_NUMBERS as error:
        msg = f"the dense vector of {what} is not a row of numbers: {error}"
        raise VectorError(msg) from error
    if array.ndim != 1 or not 1 <= len(array) <= MAX_DENSE_DIM:
        msg = f"the dense vector of {what} has shape {array.shape}; one row of 1 to {MAX_DENSE_DIM} numbers is needed"
        raise VectorError(msg)
    if dim is not None and len(array) != dim:
        msg = f"the dense vector of {what} has {len(array)} dimensions, the collection's have {dim}"
        raise DimensionMismatchError(msg)
    if not np.isfinite(array).all() or not array.any():
        msg = f"the dense vector of {what} holds NaN or infinity, or is zero and has no direction"
        raise VectorError(msg)
    return array


def unit_rows(vectors: Float32Array) -> Float32Array:
    """Rows scaled to length one, whatever their magnitude; to the same bits as by pgvector's l2_normalize."""
    norms = np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64))
    scaled: Float32Array = np.divide(vectors, norms[:, None], dtype=np.float64).astype(np.float32)
    return scaled


def no_tokens(passages: int) -> TokenMatrix:
    """Passages without vectors."""
    return TokenMatrix(np.empty((0, 1), dtype=np.float32), np.zeros(passages + 1, dtype=np.int64))


def token_matrix(arrays: Sequence[Float32Array], *, unit: bool = True) -> TokenMatrix:
    """Vectors of several passages below one another, as `unit` rows or as they are.

    Raises VectorError where they are to stay as they are and half precision has no such number.
    """
    rows = np.concatenate(arrays)
    if not unit and np.abs(rows).max(initial=0) > HALF_AT_MOST:
        msg = (
            f"token vectors hold numbers up to {np.abs(rows).max():g}, and collections that keep lengths store none above 65,504; "
            "scale the vectors down, or create the collection with unit_vectors=True"
        )
        raise VectorError(msg)
    return TokenMatrix(unit_rows(rows) if unit else rows, offsets_of([len(array) for array in arrays]))
