"""pgretrieval.add_passage and delete_passage without the Python client."""

from __future__ import annotations

from typing import Any

import numpy as np
import psycopg
import pytest

import pgretrieval
from tests.fixtures.collections import Corpus
from tests.support.sql import vector_array
from tests.support.vectors import clustered, passages

pytestmark = pytest.mark.both_versions

Connection = psycopg.Connection[Any]


def add(connection: Connection, key: str, vectors: Any, name: str = "docs") -> None:
    """Add one passage."""
    connection.execute("select pgretrieval.add_passage(%s, %s, 'text', %s::vector[])", [name, key, vector_array(vectors)])


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("dim", [64, 51])
def test_the_bytes_are_those_that_the_python_client_writes(
    database: pgretrieval.RetrievalDatabase, connection: Connection, bits: int, dim: int
):
    """SQL and the Python client write the same codes; those of the longest passage are cut."""
    docs = database.create_collection("docs", bits=bits)
    docs.add(passages(300), vectors=clustered(300, dim=dim, seed=1))
    docs.build()
    fresh = clustered(40, dim=dim, seed=9)
    scaled = [rows * factor for rows, factor in zip(fresh, [0.5, 1.0, 3.0, 1e-3] * 10, strict=True)]
    scaled[0] = np.concatenate(scaled[:14])
    docs.add([{"id": f"python {number}", "text": "text"} for number in range(40)], vectors=scaled)
    for number, rows in enumerate(scaled):
        add(connection, f"sql {number}", rows)
    pairs = connection.execute(
        """with code as (
               select key, centroid_ids, residuals, tail
               from pgretrieval.token_code join pgretrieval.passage using (collection_id, passage_id)
           )
           select python.centroid_ids = sql.centroid_ids, (python.residuals, python.tail) = (sql.residuals, sql.tail),
                  sql.tail <> ''
           from code as python join code as sql on replace(python.key, 'python', 'sql') = sql.key and python.key like 'python%'"""
    ).fetchall()
    assert [pair[:2] for pair in pairs] == [(True, True)] * 40
    assert sum(pair[2] for pair in pairs) == 1
    assert docs.check() == []


def test_a_passage_is_found_at_once_and_gone_at_once(built_docs: pgretrieval.Collection, connection: Connection, corpus: Corpus):
    """Added passages are found at once, and deleted ones are not."""
    query = corpus.queries[0]
    add(connection, "mine", query)
    assert built_docs.search(vectors=query, k=1)[0].id == "mine"
    assert connection.execute("select pgretrieval.delete_passage('docs', 'mine')").fetchone() == (True,)
    assert connection.execute("select pgretrieval.delete_passage('docs', 'mine')").fetchone() == (False,)
    assert "mine" not in [hit.id for hit in built_docs.search(vectors=query, k=20)]
    left = connection.execute(
        """select (select count(*) from pgretrieval.token_code), (select count(*) from pgretrieval.token_vector),
                  (select count(*) from pgretrieval.passage)"""
    )
    assert left.fetchone() == (300, 0, 300)


def test_passages_before_the_first_build_are_built(database: pgretrieval.RetrievalDatabase, connection: Connection, corpus: Corpus):
    """Vectors added in SQL are staged and set the dimension."""
    docs = database.create_collection("docs")
    for passage, vectors in zip(corpus.passages[:50], corpus.vectors[:50], strict=True):
        add(connection, str(passage["id"]), vectors)
    report = docs.build()
    assert (report.passages, report.built) == (50, True)
    assert docs.search(vectors=corpus.vectors[7], k=1)[0].id == "p7"


def test_kept_vectors_are_kept(database: pgretrieval.RetrievalDatabase, connection: Connection, corpus: Corpus):
    """Stored vectors survive a build, and later passages have them."""
    docs = database.create_collection("docs", keep_vectors=True)
    docs.add(corpus.passages[:100], vectors=corpus.vectors[:100])
    docs.build()
    docs.add(corpus.passages[100:110], vectors=corpus.vectors[100:110])
    add(connection, "mine", corpus.queries[0])
    assert connection.execute("select count(*) from pgretrieval.token_vector").fetchone() == (111,)
    assert docs.stats()["waiting_for_build"] == 0
    assert docs.build().built is False


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("'docs', 'p1', 'text', array[array_fill(1, array[64])::vector]", "passage 'p1' is in collection 'docs' already"),
        ("'docs', '', 'text', array[array_fill(1, array[64])::vector]", "the id is missing, empty or blank"),
        ("'docs', 'new', null, array[array_fill(1, array[64])::vector]", "passage 'new': the body is missing, empty or blank"),
        ("'docs', 'new', 'text', array['[1,2]'::vector]", "the vectors of passage 'new' have 2 dimensions"),
        ("'docs', 'new', 'text', null", "the vectors of passage 'new' are not a list"),
        ("'nobody', 'new', 'text', array['[1,2]'::vector]", "no collection 'nobody'"),
    ],
)
def test_errors_name_the_value_and_store_nothing(
    built_docs: pgretrieval.Collection, connection: Connection, arguments: str, message: str
):
    """Invalid arguments raise errors and store nothing."""
    with pytest.raises(psycopg.Error, match=message):
        connection.execute(f"select pgretrieval.add_passage({arguments})")
    assert built_docs.stats()["passages"] == 300


def test_proxies_cannot_be_made_in_sql(database: pgretrieval.RetrievalDatabase, connection: Connection, corpus: Corpus):
    """Adding to a collection with proxies in SQL is refused."""
    docs = database.create_collection("docs", generator="proxy")
    docs.add(corpus.passages, vectors=corpus.vectors)
    docs.build()
    with pytest.raises(psycopg.Error, match="learned proxies"):
        add(connection, "mine", corpus.queries[0])


@pytest.fixture
def built_docs(database: pgretrieval.RetrievalDatabase, corpus: Corpus) -> pgretrieval.Collection:
    """The corpus in a built collection for one test."""
    docs = database.create_collection("docs")
    docs.add(corpus.passages, vectors=corpus.vectors)
    docs.build()
    return docs
