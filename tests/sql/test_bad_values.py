"""SQL refuses values that the Python client could not use, with an SQLSTATE of pgretrieval."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

import pgretrieval
from pgretrieval.db import parameters
from tests.support.vectors import clustered

VECTORS = parameters.vector_array(clustered(1)[0])
NUMBER = "9" * 5000


@pytest.fixture
def sql(database: pgretrieval.RetrievalDatabase, database_url: str) -> Any:
    """Run a statement on a database with a collection `docs` of 64 dimensions; returns the SQLSTATE if it fails."""
    database.create_collection("docs", dim=64)
    connection = psycopg.connect(database_url, autocommit=True)

    def run(statement: str, **named: Any) -> str | None:
        try:
            connection.execute(statement, named)
        except psycopg.Error as error:
            return error.sqlstate
        return None

    yield run
    connection.close()


@pytest.mark.parametrize(
    "arguments",
    [
        "' '",
        "''",
        "null",
        "repeat('x', 501)",
        "'x', 47",
        "'x', 1025",
        "'x', bits => 3",
        "'x', bits => null",
        "'x', levels => null",
        "'x', levels => 'even'",
        "'x', generator => null",
        "'x', generator => 'hnsw'",
        "'x', keep_vectors => null",
        "'x', title_weight => 'NaN'",
        "'x', title_weight => 'Infinity'",
        "'x', title_weight => -1",
        "'x', title_weight => null",
        "'x', encoder => '5'",
        "'x', encoder => '[]'",
        "'x', encoder => '\"x\"'",
        "'x', encoder => '{}'",
        "'x', encoder => 'null'",
        "'x', encoder => '{\"kind\": [\"minilm\"]}'",
        '\'x\', encoder => \'{"kind": "minilm", "version": {"a": 1}}\'',
        '\'x\', encoder => \'{"kind": "model", "name": " "}\'',
        '\'x\', encoder => \'{"kind": "model", "name": "x", "lengths": 5}\'',
        "'x', dense => 'nope'",
        "'x', dense => 'a.b'",
        "'x', dense => ''",
        "'x', dense => 'a.b.c.d'",
        "'x', dense_key => 'a'",
        "'x', vectors_per_passage => 0",
        "'x', buckets => 0",
        "'x', buckets => 1025",
        "'x', scorer => null",
        "'x', scorer => 'x'",
        "'x', rerank => 'x'",
        "'x', unit_vectors => null",
        "'x', preset => '5'",
        "'x', preset => '{\"name\": \"x\"}'",
        '\'x\', preset => \'{"name": "x", "search": [5]}\'',
        '\'x\', preset => \'{"name": "x", "search": [{"probes": [1]}]}\'',
    ],
)
def test_collections_that_cannot_be(sql: Any, arguments: str):
    """Invalid settings of a collection are refused."""
    assert sql(f"select pgretrieval.create_collection({arguments})") == "PGR05"


def test_the_generator_of_a_collection_has_a_new_name(database: pgretrieval.RetrievalDatabase):
    """The old name `candidates` raises an error that names `generator`."""
    with psycopg.connect(database.url) as connection, pytest.raises(psycopg.Error, match="candidates is 'proxy'") as raised:
        connection.execute("select pgretrieval.create_collection('x', candidates => 'proxy')")
    assert raised.value.sqlstate == "PGR05"
    assert raised.value.diag.message_hint == "Use generator instead: generator => 'proxy'."


@pytest.mark.parametrize(
    "changes",
    [
        {"id": " "},
        {"id": None},
        {"id": "x" * 2001},
        {"body": ""},
        {"body": " \n"},
        {"body": None},
        {"metadata": "5"},
        {"metadata": "[]"},
        {"metadata": "null"},
        {"metadata": f'{{"a": {NUMBER}}}'},
        {"metadata": f'{{"a": [{{"b": -{NUMBER}}}]}}'},
        {"metadata": '{"a": 1e5000}'},
        {"metadata": f'{{"a": {"9" * 400}.5}}'},
    ],
)
def test_passages_that_cannot_be(sql: Any, database: pgretrieval.RetrievalDatabase, changes: dict[str, Any]):
    """Invalid passages are refused."""
    given = {"id": "x", "body": "text", "metadata": "{}", "vectors": VECTORS, **changes}
    add = """select pgretrieval.add_passage('docs', %(id)s, %(body)s, pgretrieval.as_vectors(%(vectors)s),
                                           metadata => %(metadata)s::jsonb)"""
    assert sql(add, **given) == "PGR05"
    assert database.get_collection("docs").stats()["passages"] == 0


def test_passages_that_can_be(sql: Any, database: pgretrieval.RetrievalDatabase):
    """Large numbers are stored, and a blank title becomes null."""
    add = """select pgretrieval.add_passage('docs', 'x', 'text', pgretrieval.as_vectors(%(vectors)s), title => ' ',
                                           metadata => %(metadata)s::jsonb)"""
    assert sql(add, vectors=VECTORS, metadata=f'{{"a": {"9" * 3000}, "b": [1e308, -0.5, true], "c": "{NUMBER}"}}') is None
    held = database.get_collection("docs").get(["x"])["x"]
    assert (held.title, held.metadata["a"]) == (None, int("9" * 3000))


@pytest.mark.parametrize("weights", ["{NaN,1,1}", "{Infinity,1,1}", "{1,1}", "{1,1,NULL}", "{1e300,1,1}", None])
def test_weights_that_are_no_numbers(sql: Any, weights: str | None):
    """Weights must be finite numbers."""
    search = "select * from pgretrieval.hybrid_search('docs', pgretrieval.as_vectors(%(vectors)s), 'x', weights => %(weights)s)"
    assert sql(search, vectors=VECTORS, weights=weights) == "PGR05"


@pytest.mark.parametrize("argument", ["k => 2147483647", "k => 0", "k => -1", "k => null", "filter => '$.n'", "filter => '1'"])
def test_searches_that_make_no_sense(sql: Any, argument: str):
    """Invalid arguments of searches are refused."""
    for call in (
        "search('docs', pgretrieval.as_vectors(%(vectors)s)",
        "text_search('docs', 'x'",
        "hybrid_search('docs', null, 'x'",
    ):
        assert sql(f"select * from pgretrieval.{call}, {argument})", vectors=VECTORS) == "PGR05", call


@pytest.mark.parametrize("probes", [0, -1, 2**31 - 1])
def test_probes_that_make_no_sense(sql: Any, probes: int):
    """Invalid numbers of probes are refused."""
    search = "select * from pgretrieval.search('docs', pgretrieval.as_vectors(%(vectors)s), probes => %(probes)s)"
    assert sql(search, vectors=VECTORS, probes=probes) == "PGR05"


def test_tables_hold_what_the_client_reads(sql: Any):
    """Constraints of the tables refuse values that the client cannot read."""
    for change in ("name = ' '", "encoder = '5'", "title_weight = 'NaN'"):
        assert sql(f"update pgretrieval.collection set {change}") == "23514"
    add = "insert into pgretrieval.passage (collection_id, passage_id, key, body, token_count, metadata) "
    assert sql(f"{add} select collection_id, 1, 'x', 'x', 1, '5' from pgretrieval.collection") == "23514"


def test_many_query_tokens(sql: Any, database: pgretrieval.RetrievalDatabase):
    """A query can have thousands of tokens."""
    docs = database.get_collection("docs")
    docs.add([{"id": str(number), "text": "x"} for number in range(300)], vectors=clustered(300))
    docs.build()
    search = "select * from pgretrieval.search('docs', pgretrieval.as_vectors(%(vectors)s))"
    for tokens, state in ((1600, None), (1601, "PGR05")):
        assert sql(search, vectors=parameters.vector_array(clustered(1, tokens=(tokens, tokens))[0])) == state


def test_a_filter_is_checked(sql: Any):
    """Invalid predicates are refused, and null is accepted."""
    assert sql("select pgretrieval.check_search('$.n', 1)") == "PGR05"
    assert sql("select pgretrieval.check_search('$.n == 1', 1), pgretrieval.check_search(null, 1)") is None
