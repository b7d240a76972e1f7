"""Proxy models and proxies as rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pgretrieval.assets import statements
from pgretrieval.buckets import PassageIds
from pgretrieval.db import wire
from pgretrieval.db.handles import IndexTables
from pgretrieval.db.writing import write_rows
from pgretrieval.types import Float32Array

_SQL = statements("proxies")


@dataclass(frozen=True, slots=True)
class ProxyModelRow:
    """A model as stored: directions (features, dim), projection (features, rank), anchors (anchors, dim), baseline (anchors,)."""

    threshold: float
    directions: Float32Array
    projection: Float32Array
    anchors: Float32Array
    baseline: Float32Array


def save_model(tables: IndexTables, model: ProxyModelRow) -> None:
    """Write the model of a codebook, and make room for its proxies."""
    tables.execute(
        _SQL["save_model"],
        threshold=model.threshold,
        directions=model.directions.astype("<f2").tobytes(),
        projection=model.projection.astype("<f4").tobytes(),
        anchors=model.anchors.astype("<f2").tobytes(),
        baseline=model.baseline.astype("<f4").tobytes(),
    )
    tables.execute(_SQL["create"])


def load_model(tables: IndexTables, dim: int) -> ProxyModelRow | None:
    """The model of a codebook, None where it has none."""
    row = tables.one(_SQL["load_model"])
    if row is None:
        return None
    directions, anchors = (np.frombuffer(part, dtype="<f2").astype(np.float32).reshape(-1, dim) for part in row[1:3])
    projection, baseline = (np.frombuffer(part, dtype="<f4").astype(np.float32) for part in row[3:5])
    return ProxyModelRow(float(row[0]), directions, projection.reshape(len(directions), -1), anchors, baseline)


def copy(tables: IndexTables, passages: PassageIds, vectors: Float32Array) -> None:
    """Write the proxies (passages, rank) of passages by binary COPY."""
    rows = (
        (tables.codebook_id, bucket, passage_id, field)
        for bucket, passage_id, field in zip(
            passages.buckets.tolist(), passages.ids.tolist(), wire.halfvec_fields(vectors), strict=True
        )
    )
    write_rows(tables.connection, "pgretrieval.proxy", _SQL["copy"], _SQL["insert"], ["int4", "int2", "int4", "bytea"], rows)


def index(tables: IndexTables) -> None:
    """Make the vector index over the proxies unless it is there."""
    tables.execute(_SQL["index"])


def drop_removed(tables: IndexTables) -> None:
    """Remove a codebook's proxies of passages that are gone."""
    tables.execute(_SQL["drop_proxies_of_removed"])
