"""The centroids that a search in SQL probes are nearly all of the nearest."""

from __future__ import annotations

from typing import Any

import numpy as np
import psycopg
import pytest

import pgretrieval
from pgretrieval.db.tables import codebooks
from pgretrieval.db.tables.codebooks import CodebookRow

DIM = 64
CENTROIDS = 8192
QUERIES = 60


@pytest.mark.parametrize(("probes", "at_least"), [(8, 0.99), (32, 0.98), (200, 0.95)])
def test_the_vector_index_finds_the_nearest_centroids(
    database: pgretrieval.RetrievalDatabase, connection: psycopg.Connection[Any], probes: int, at_least: float
) -> None:
    """`probe` finds as many of the nearest centroids as asked for, nearly those of a comparison with all."""
    random = np.random.default_rng(0)
    themes = random.normal(size=(64, DIM))
    rows = themes[random.integers(64, size=CENTROIDS + QUERIES)] + random.normal(size=(CENTROIDS + QUERIES, DIM))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16).astype(np.float32)
    centroids, queries = rows[:CENTROIDS], rows[CENTROIDS:]
    tables = database.create_collection("docs")._row.tables(connection)
    with connection.transaction():
        codebook = codebooks.save(tables, CodebookRow(4, [0.0] * 15, [0.0] * 16, centroids, 1, 1, None))
        codebooks.index_centroids(tables.index(codebook))
    connection.execute("analyze pgretrieval.centroid")
    nearest = np.argsort(-queries @ centroids.T, axis=1)[:, :probes]
    found = 0
    for query, ids in zip(queries, nearest, strict=True):
        probed = connection.execute(
            "select centroid_id from pgretrieval.probe(%s, %s, %s::vector[], %s)",
            [tables.collection_id, codebook, [str(query.tolist())], probes],
        ).fetchall()
        assert len(probed) == probes
        found += len({row[0] for row in probed} & set(ids.tolist()))
    assert found >= at_least * probes * QUERIES
