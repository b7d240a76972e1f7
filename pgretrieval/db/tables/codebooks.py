"""Codebooks and their centroids as rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pgretrieval.assets import statements
from pgretrieval.db import wire
from pgretrieval.db.handles import CollectionTables, IndexTables
from pgretrieval.errors import StorageError
from pgretrieval.types import CodebookId, Float32Array

_SQL = statements("codebooks")


@dataclass(frozen=True, slots=True)
class CodebookRow:
    """A codebook as stored. `centroids` is (count, dim); `passages` and `tokens` are what it was trained for.

    `quantization_error` is the mean of 1 - cosine between vectors of the training and what their codes decode to.
    """

    bits: int
    cutoffs: list[float]
    weights: list[float]
    centroids: Float32Array
    passages: int
    tokens: int
    quantization_error: float | None


class TrainedFor(NamedTuple):
    """A codebook's centroids, and the passages and tokens of its collection when it was trained."""

    centroids: int
    passages: int
    tokens: int


def save(tables: CollectionTables, codebook: CodebookRow) -> CodebookId:
    """Write a codebook beside the active one."""
    inserted = tables.value(
        _SQL["insert"],
        dim=codebook.centroids.shape[1],
        bits=codebook.bits,
        cutoffs=codebook.cutoffs,
        weights=codebook.weights,
        centroid_count=len(codebook.centroids),
        passages=codebook.passages,
        tokens=codebook.tokens,
        quantization_error=codebook.quantization_error,
    )
    codebook_id = CodebookId(inserted)
    with tables.connection.cursor() as cursor, cursor.copy(_SQL["copy_centroids"]) as stream:
        stream.set_types(["int4", "int4", "int4", "bytea"])
        for centroid_id, field in enumerate(wire.halfvec_fields(codebook.centroids)):
            stream.write_row((tables.collection_id, codebook_id, centroid_id, field))
    return codebook_id


def load(tables: IndexTables) -> CodebookRow:
    """Read a codebook with all its centroids. Raises StorageError where a rebuild has just dropped it."""
    row = tables.one(_SQL["get"])
    fields = [vector for (vector,) in tables.binary_rows(_SQL["centroids"])]
    if row is None or not fields:
        msg = f"codebook {tables.codebook_id} is gone; search again to use its successor"
        raise StorageError(msg)
    dim, bits, cutoffs, weights, _count, passages, tokens, error = row
    centroids = wire.read_halfvecs(fields).reshape(len(fields), dim)
    return CodebookRow(bits, cutoffs, weights, np.ascontiguousarray(centroids), passages, tokens, error)


def trained_for(tables: IndexTables) -> TrainedFor:
    """Return the size of the training data of a codebook."""
    row = tables.one(_SQL["get"])
    return TrainedFor(*row[4:7]) if row else TrainedFor(0, 0, 0)


def index_centroids(tables: IndexTables) -> None:
    """Make the vector index over a codebook's centroids unless it is there."""
    tables.execute(_SQL["index_centroids"])
