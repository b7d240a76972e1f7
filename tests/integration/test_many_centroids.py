"""A codebook of more centroids than two bytes number."""

from __future__ import annotations

from typing import Any

import numpy as np
import psycopg
import pytest

import pgretrieval
from pgretrieval.db.tables import codebooks
from pgretrieval.db.tables.codebooks import CodebookRow
from pgretrieval.types import Float32Array

DIM = 48
CENTROIDS = 65_600
PASSAGES = 40


def unit(rows: Float32Array) -> Float32Array:
    """Rows of length one."""
    scaled: Float32Array = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return scaled


@pytest.fixture
def centroids() -> Float32Array:
    """Random centroids, as they are stored."""
    rows = np.random.default_rng(0).normal(size=(CENTROIDS, DIM))
    return unit(rows).astype(np.float16).astype(np.float32)


@pytest.fixture
def docs(
    database: pgretrieval.RetrievalDatabase, connection: psycopg.Connection[Any], centroids: Float32Array
) -> pgretrieval.Collection:
    """An empty collection with these centroids."""
    docs = database.create_collection("docs")
    levels = np.round(np.linspace(-127, 127, 16)) * 0.15 / 127
    row = CodebookRow(4, ((levels[1:] + levels[:-1]) / 2).tolist(), levels.tolist(), centroids, 1, 1, None)
    with connection.transaction():
        codebook = codebooks.save(docs._row.tables(connection), row)
        connection.execute("update pgretrieval.collection set codebook_id = %s, dim = %s, given_vectors = true", [codebook, DIM])
    return database.get_collection("docs")


def test_ids_of_four_bytes(docs: pgretrieval.Collection, connection: psycopg.Connection[Any], centroids: Float32Array):
    """Passages by Python and by SQL have the same codes, are found by both, and pass the check; high numbers are among them."""
    random = np.random.default_rng(1)
    vectors = [
        unit(centroids[CENTROIDS - 20 * (number + 1) : CENTROIDS - 20 * number] + random.normal(scale=0.02, size=(20, DIM)))
        for number in range(PASSAGES)
    ]
    docs.add([{"id": f"p{number}", "text": f"text {number}"} for number in range(PASSAGES)], vectors=vectors)
    connection.execute(
        "select pgretrieval.add_passage('docs', 'sql', 'text', %s::vector[])", [[str(row.tolist()) for row in vectors[0]]]
    )
    [(ids, residuals), (sql_ids, sql_residuals)] = connection.execute(
        """select centroid_ids, residuals from pgretrieval.token_code join pgretrieval.passage using (collection_id, passage_id)
           where key in ('p0', 'sql') order by key"""
    ).fetchall()
    assert (sql_ids, sql_residuals) == (ids, residuals)
    assert np.frombuffer(ids, dtype="<u4").tolist() == list(range(CENTROIDS - 20, CENTROIDS))
    assert docs.check() == []
    for number in (1, PASSAGES - 1):
        hits = docs.search(vectors=vectors[number][:5], k=1)
        assert [hit.id for hit in hits] == [f"p{number}"]
        assert hits[0].score == pytest.approx(5, abs=0.05)
        found = connection.execute(
            "select id, score from pgretrieval.search('docs', %s::vector[], 1)",
            [[str(row.tolist()) for row in vectors[number][:5]]],
        ).fetchone()
        assert found[0] == f"p{number}"
        assert found[1] == pytest.approx(hits[0].score, abs=1e-4)
