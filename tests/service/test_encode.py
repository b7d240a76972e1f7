"""Vectors for applications in other languages: numbers, and literals that Postgres reads."""

from __future__ import annotations

from typing import Any

import numpy as np
import psycopg
import pytest

import pgretrieval
from tests.support.serving import Serving, failed


def encode(service: Serving, **asked: Any) -> dict[str, Any]:
    answer = service.client.post("/v1/encode", json=asked)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


@pytest.mark.parametrize("kind", ["queries", "documents"])
def test_literals_keep_single_precision(module_service: Serving, module_database: pgretrieval.RetrievalDatabase, kind: str):
    """A literal for $1::vector[] has exactly the vectors of the encoder, as have the numbers."""
    texts = ["a river", "money in the bank"]
    found = encode(module_service, collection="docs", **{kind: texts})
    encoder = module_database.get_collection("docs").encoder
    wanted = encoder.encode_query(texts) if kind == "queries" else encoder.encode_document(texts)
    assert set(found) == {"vectors", "literals"}
    with psycopg.connect(module_database.url) as connection:
        for literal, vectors, expected in zip(found["literals"], found["vectors"], wanted, strict=True):
            (read,) = connection.execute(
                "select array(select v::real[]::text from unnest(%s::vector[]) as v)", [literal]
            ).fetchone()
            rows = np.array([row.strip("{}").split(",") for row in read], dtype=np.float32)
            np.testing.assert_array_equal(rows, expected)
            np.testing.assert_array_equal(np.array(vectors, dtype=np.float32), expected)


def test_a_literal_searches_in_sql(module_service: Serving, module_database: pgretrieval.RetrievalDatabase):
    """The SQL functions find with a literal what the library finds with the text."""
    literal = encode(module_service, collection="dense", queries=["salty sea"])["literals"][0]
    with psycopg.connect(module_database.url) as connection:
        rows = connection.execute("select id from pgretrieval.search('dense', %s::vector[], k => 2)", [literal]).fetchall()
    assert [row[0] for row in rows] == [hit.id for hit in module_database.get_collection("dense").search("salty sea", 2)]


def test_dense_vectors_where_the_encoder_makes_them(module_service: Serving, module_database: pgretrieval.RetrievalDatabase):
    found = encode(module_service, collection="dense", queries=["a river"])
    wanted = module_database.get_collection("dense").encoder.encode_query_with_dense("a river")[1]
    np.testing.assert_array_equal(np.array(found["dense"], dtype=np.float32), wanted)
    with psycopg.connect(module_database.url) as connection:
        (read,) = connection.execute("select %s::vector::real[]::text", [found["dense_literals"][0]]).fetchone()
    np.testing.assert_array_equal(np.array(read.strip("{}").split(","), dtype=np.float32), wanted[0])


def test_no_texts(module_service: Serving):
    assert encode(module_service, collection="docs", queries=[]) == {"vectors": [], "literals": []}
    assert encode(module_service, collection="dense", queries=[])["dense"] == []


@pytest.mark.parametrize(
    ("asked", "status", "message"),
    [
        ({"collection": "docs"}, 400, "neither"),
        ({"collection": "docs", "queries": ["a"], "documents": ["b"]}, 400, "both"),
        ({"collection": "docs", "queries": ["a", " "]}, 400, "query 1 is empty"),
        ({"collection": "docs", "queries": "a"}, 400, "queries is 'a'"),
        ({"collection": "nothing", "queries": ["a"]}, 404, "no collection 'nothing'"),
        ({"collection": "texts", "queries": ["a"]}, 400, "stores texts only"),
        ({"collection": "given", "queries": ["a"]}, 400, "given vectors and has no encoder"),
        ({"collection": "docs", "documents": ["a"] * 257}, 400, "documents has 257 entries"),
        ({"collection": "docs", "queries": ["a"] * 257}, 400, "queries has 257 entries"),
        ({"queries": ["a"]}, 400, "collection is missing"),
    ],
)
def test_requests_that_cannot_be_encoded(module_service: Serving, asked: dict[str, Any], status: int, message: str):
    assert message in failed(module_service.client.post("/v1/encode", json=asked), status)["message"]
