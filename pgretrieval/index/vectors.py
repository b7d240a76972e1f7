"""Validation of token vectors and dense vectors."""

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
"""Errors of numpy for values that are not numbers or too large."""
HALF_AT_MOST = 65_504
MAX_DENSE_DIM = 4000  # limit of pgvector for an HNSW index of halfvec


def check_dim(dim: int) -> int:
    """Check a dimension. Raises ConfigError for other values than integers, DimensionMismatchError outside 48 to 1,024."""
    dim = validate.whole("dim", dim, -(2**63), 2**63)
    if not MIN_DIM <= dim <= MAX_DIM:
        msg = f"the vectors have {dim} dimensions; collections take {MIN_DIM} to {MAX_DIM}"
        raise DimensionMismatchError(msg)
    return dim


def token_array(vectors: Any, what: str, dim: int | None) -> Float32Array:
    """Return the vectors of one passage or query as (tokens, dim) float32.

    Raises VectorError, naming `what`, unless they are two-dimensional, finite, not empty and without zero rows;
    DimensionMismatchError unless they have `dim` columns.
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
        msg = f"the vectors of {what} have {array.shape[1]} dimensions, but the collection has {dim}"
        raise DimensionMismatchError(msg)
    check_dim(array.shape[1])
    if not np.isfinite(array).all():
        row = int(np.flatnonzero(~np.isfinite(array).all(axis=1))[0])
        msg = f"the vectors of {what} contain NaN or infinity (first at token {row})"
        raise VectorError(msg)
    if not array.any(axis=1).all():
        row = int(np.flatnonzero(~array.any(axis=1))[0])
        msg = f"the vectors of {what} contain a zero vector (first at token {row}), which has no direction; leave such tokens out"
        raise VectorError(msg)
    return array


def _on_host(vectors: Any, what: str) -> Any:
    """Return a tensor as an array, other values unchanged. Raises VectorError for values that numpy would misread."""
    if isinstance(vectors, np.ma.MaskedArray):
        msg = f"{what} are a masked array, whose masked numbers would count; give an array without a mask"
        raise VectorError(msg)
    if isinstance(vectors, str | bytes) or getattr(getattr(vectors, "dtype", None), "kind", "") == "c":
        msg = f"{what} are not an array of numbers: {validate.shown(vectors)}"
        raise VectorError(msg)
    return vectors.detach().cpu().float().numpy() if hasattr(vectors, "detach") else vectors


def check_counts(tokens: TokenMatrix, ids: Sequence[str], vectors_per_passage: int | None) -> None:
    """Raise VectorError, naming the first passage, unless every passage has the given number of vectors; None allows any."""
    if vectors_per_passage is None:
        return
    wrong = np.flatnonzero(tokens.lengths != vectors_per_passage)
    if len(wrong):
        msg = (
            f"passage {ids[wrong[0]]!r} has {tokens.lengths[wrong[0]]} vectors, but every passage of this collection has "
            f"{vectors_per_passage} (vectors_per_passage); give as many, or create a collection without vectors_per_passage"
        )
        raise VectorError(msg)


def dense_array(vector: Any, what: str, dim: int | None) -> Float32Array:
    """Return a dense vector as (dense dim,) float32.

    Raises VectorError, naming `what`, unless it is a row of at most 4,000 finite numbers, not all zero; DimensionMismatchError
    unless it has `dim` entries.
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
        msg = f"the dense vector of {what} has {len(array)} dimensions, but the collection's have {dim}"
        raise DimensionMismatchError(msg)
    if not np.isfinite(array).all() or not array.any():
        msg = f"the dense vector of {what} contains NaN or infinity, or is zero and has no direction"
        raise VectorError(msg)
    return array


def unit_rows(vectors: Float32Array) -> Float32Array:
    """Return rows scaled to unit length, bit-identical to pgvector's l2_normalize."""
    norms = np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64))
    scaled = np.empty(vectors.shape, dtype=np.float32)
    np.divide(vectors, norms[:, None], out=scaled, dtype=np.float64, casting="same_kind")
    return scaled


def no_tokens(passages: int) -> TokenMatrix:
    """Return passages without vectors."""
    return TokenMatrix(np.empty((0, 1), dtype=np.float32), np.zeros(passages + 1, dtype=np.int64))


def token_matrix(arrays: Sequence[Float32Array], *, unit: bool = True) -> TokenMatrix:
    """Return vectors of several passages as one matrix, with `unit` rows or unchanged.

    Raises VectorError if unchanged vectors exceed half precision.
    """
    rows = np.concatenate(arrays)
    if not unit and np.abs(rows).max(initial=0) > HALF_AT_MOST:
        msg = (
            f"token vectors contain numbers up to {np.abs(rows).max():g}, but without unit vectors the maximum is 65,504; "
            "scale the vectors down, or create the collection with unit_vectors=True"
        )
        raise VectorError(msg)
    return TokenMatrix(unit_rows(rows) if unit else rows, offsets_of([len(array) for array in arrays]))
