"""Proxy models and proxies as rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pgretrieval.assets import statements
from pgretrieval.db import wire
from pgretrieval.db.connection import Connection, one
from pgretrieval.db.writing import write_rows
from pgretrieval.types import CodebookId, CollectionId, Float32Array, Int32Array

_SQL = statements("proxies")


@dataclass(frozen=True, slots=True)
class ProxyModelRow:
    """A model as stored: directions (features, dim), projection (features, rank), anchors (anchors, dim), baseline (anchors,)."""

    threshold: float
    directions: Float32Array
    projection: Float32Array
    anchors: Float32Array
    baseline: Float32Array


def save_model(connection: Connection, codebook_id: CodebookId, model: ProxyModelRow) -> None:
    """Write the model of a codebook, and make room for its proxies."""
    parameters = {
        "codebook_id": codebook_id,
        "threshold": model.threshold,
        "directions": model.directions.astype("<f2").tobytes(),
        "projection": model.projection.astype("<f4").tobytes(),
        "anchors": model.anchors.astype("<f2").tobytes(),
        "baseline": model.baseline.astype("<f4").tobytes(),
    }
    connection.execute(_SQL["save_model"], parameters)
    connection.execute(_SQL["create"], {"codebook_id": codebook_id})


def load_model(connection: Connection, codebook_id: CodebookId, dim: int) -> ProxyModelRow | None:
    """The model of a codebook, None where it has none."""
    row = one(connection, _SQL["load_model"], {"codebook_id": codebook_id})
    if row is None:
        return None
    directions, anchors = (np.frombuffer(part, dtype="<f2").astype(np.float32).reshape(-1, dim) for part in row[1:3])
    projection, baseline = (np.frombuffer(part, dtype="<f4").astype(np.float32) for part in row[3:5])
    return ProxyModelRow(float(row[0]), directions, projection.reshape(len(directions), -1), anchors, baseline)


def copy(connection: Connection, codebook_id: CodebookId, passage_ids: Int32Array, vectors: Float32Array) -> None:
    """Write the proxies (passages, rank) of passages by binary COPY."""
    rows = (
        (codebook_id, passage_id, field)
        for passage_id, field in zip(passage_ids.tolist(), wire.halfvec_fields(vectors), strict=True)
    )
    write_rows(connection, "pgretrieval.proxy", _SQL["copy"], _SQL["insert"], ["int4", "int4", "bytea"], rows)


def index(connection: Connection, codebook_id: CodebookId) -> None:
    """Make the vector index over the proxies unless it is there."""
    connection.execute(_SQL["index"], {"codebook_id": codebook_id})


def drop_removed(connection: Connection, collection_id: CollectionId, codebook_id: CodebookId) -> None:
    """Remove a codebook's proxies of passages that are gone."""
    connection.execute(_SQL["drop_proxies_of_removed"], {"collection_id": collection_id, "codebook_id": codebook_id})
