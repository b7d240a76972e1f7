"""Scores from retrieved tokens compared with exact XTR: all token vectors, unquantised, against all query tokens."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import psycopg
import pytest

import pgretrieval
from pgretrieval.corpus.docstrings import standard_library_passages
from pgretrieval.encode.registry import load_encoder
from pgretrieval.evaluate.fidelity import fidelity
from pgretrieval.types import Float32Array
from tests.fixtures.postgres import PostgresUnderTest
from tests.support.roles import grant, isolate_tenants, url_as
from tests.support.sql import vector_array

PASSAGES, QUERIES, IN_SQL, FLOOR = 400, 100, 6, 0.95
K_TOKENS = [None, 1000, 3000]


class Encoded(NamedTuple):
    """Real text and its vectors: docstrings of the standard library, and lines of some of them as queries."""

    vectors: list[Float32Array]
    queries: list[Float32Array]


@pytest.fixture(scope="module")
def encoded() -> Encoded:
    texts = [passage.text for passage in islice((one for one in standard_library_passages() if len(one.text) > 200), PASSAGES)]
    lines = [text.strip().splitlines()[0] for text in texts[:: PASSAGES // QUERIES]][:QUERIES]
    encoder = load_encoder("minilm")
    return Encoded(list(encoder.encode_document(texts)), list(encoder.encode_query(lines)))


@pytest.fixture(scope="module")
def built(module_database: pgretrieval.RetrievalDatabase, encoded: Encoded) -> pgretrieval.Collection:
    return build(module_database, "all", encoded.vectors)


def build(database: pgretrieval.RetrievalDatabase, name: str, vectors: Sequence[Float32Array]) -> pgretrieval.Collection:
    """A collection whose passages belong to one of four tenants."""
    collection = database.create_collection(name, scorer="xtr")
    collection.add(
        ({"id": str(number), "text": "a text", "metadata": {"tenant": f"t{number % 4}"}} for number in range(len(vectors))),
        vectors=vectors,
    )
    collection.build()
    return collection


def exact(encoded: Encoded, k_tokens: int | None, visible: Sequence[int] | None = None) -> list[list[str]]:
    """The ids of the ten best by equation 5 of XTR's paper, for each query."""
    there = range(len(encoded.vectors)) if visible is None else visible
    vectors = np.concatenate([encoded.vectors[number] for number in there])
    owner = np.repeat(there, [len(encoded.vectors[number]) for number in there])
    best = []
    for query in encoded.queries:
        scores, retrieved = np.zeros(len(encoded.vectors)), np.zeros(len(encoded.vectors), dtype=bool)
        for row in query @ vectors.T:
            chosen = np.argsort(-row, kind="stable")[: k_tokens or 300]
            each = np.full(len(scores), -np.inf)
            np.maximum.at(each, owner[chosen], row[chosen])
            retrieved |= each > -np.inf
            scores += np.where(each > -np.inf, each, row[chosen[-1]])
        scores[~retrieved] = -np.inf
        best.append([str(number) for number in np.argsort(-scores, kind="stable")[:10]])
    return best


def found(collection: pgretrieval.Collection, encoded: Encoded, **options: Any) -> list[list[str]]:
    return [[hit.id for hit in hits] for hits in collection.search_many(vectors=encoded.queries, k=10, **options)]


@pytest.mark.parametrize("k_tokens", K_TOKENS)
def test_the_ten_best_are_those_of_exact_xtr(built: pgretrieval.Collection, encoded: Encoded, k_tokens: int | None):
    """The ten best agree with exact XTR, because probing continues until the centroids hold enough tokens."""
    assert fidelity(found(built, encoded, k_tokens=k_tokens), exact(encoded, k_tokens), 10) >= FLOOR


@pytest.mark.parametrize("k_tokens", K_TOKENS)
def test_the_ten_best_in_sql_are_those_of_exact_xtr(built: pgretrieval.Collection, encoded: Encoded, k_tokens: int | None):
    """SQL probes as far as the client and agrees with exact XTR."""
    with psycopg.connect(built._database.url) as connection:
        ids = [
            [
                row[0]
                for row in connection.execute(
                    "select id from pgretrieval.xtr_search('all', %s::vector[], k_tokens => %s)", [vector_array(query), k_tokens]
                )
            ]
            for query in encoded.queries[:IN_SQL]
        ]
    assert fidelity(ids, exact(encoded, k_tokens)[:IN_SQL], 10) >= FLOOR


def test_only_tokens_of_passages_that_match_count(built: pgretrieval.Collection, encoded: Encoded):
    """With a filter, each query token still sees enough tokens of matching passages."""
    visible = range(1, PASSAGES, 4)
    best = exact(encoded, 1000, visible)
    ids = found(built, encoded, k_tokens=1000, where={"tenant": "t1"})
    assert fidelity(ids, best, 10) >= FLOOR
    with psycopg.connect(built._database.url) as connection:
        statement = "select id from pgretrieval.xtr_search('all', %s::vector[], k_tokens => 1000, filter => '$.tenant == \"t1\"')"
        in_sql = [[row[0] for row in connection.execute(statement, [vector_array(query)])] for query in encoded.queries[:IN_SQL]]
    assert fidelity(in_sql, best[:IN_SQL], 10) >= FLOOR


def test_only_tokens_of_visible_passages_count(postgres: PostgresUnderTest, database_url: str, encoded: Encoded):
    """Under row-level security, each query token sees enough visible tokens, independent of hidden ones."""
    with pgretrieval.connect(url=database_url) as database:
        docs = build(database, "docs", encoded.vectors)
        reader, writer = postgres.create_role(), postgres.create_role()
        grant(database_url, reader[0], writer[0], "postgres")
        with psycopg.connect(database_url, autocommit=True) as connection:
            isolate_tenants(connection)
            connection.execute(f"alter role {reader[0]} set app.tenant = 't1'")
        reading = url_as(postgres, database_url, reader)
        best = exact(encoded, None, range(1, PASSAGES, 4))

        def by_tenant() -> tuple[list[list[str]], list[list[Any]]]:
            with pgretrieval.connect(url=reading) as own:
                ids = found(own.get_collection("docs"), encoded)
            with psycopg.connect(reading) as connection:
                statement = "select id, score from pgretrieval.xtr_search('docs', %s::vector[])"
                return ids, [connection.execute(statement, [vector_array(query)]).fetchall() for query in encoded.queries[:IN_SQL]]

        ids, in_sql = by_tenant()
        assert fidelity(ids, best, 10) >= FLOOR
        assert fidelity([[row[0] for row in rows] for rows in in_sql], best[:IN_SQL], 10) >= FLOOR
        docs.add(
            ({"id": f"other {number}", "text": "a text", "metadata": {"tenant": "t2"}} for number in range(200)),
            vectors=encoded.vectors[:200],
        )
        assert by_tenant() == (ids, in_sql)


def test_tokens_of_deleted_passages_do_not_count(database: pgretrieval.RetrievalDatabase, encoded: Encoded):
    """Tokens of deleted passages take no places among the retrieved."""
    docs = build(database, "docs", encoded.vectors)
    docs.auto_compact = False
    gone = [number for number in range(PASSAGES) if number % 3]
    assert docs.search(vectors=encoded.queries[0], k=1)  # sizes of centroids are cached
    docs.delete([str(number) for number in gone])
    assert fidelity(found(docs, encoded, k_tokens=1000), exact(encoded, 1000, range(0, PASSAGES, 3)), 10) >= FLOOR


def test_explicit_probes_are_not_exceeded(built: pgretrieval.Collection, encoded: Encoded):
    """Explicit `probes` are an upper limit."""
    explained = built.explain(vectors=encoded.queries[0], k=1, probes=2, k_tokens=3000)
    assert explained.probes <= 2 * len(encoded.queries[0])
    assert explained.round_trips == built.explain(vectors=encoded.queries[0], k=1, probes=2, k_tokens=1).round_trips


def test_sizes_save_a_second_look(built: pgretrieval.Collection, encoded: Encoded):
    """The sizes of centroids let a search probe enough in one request."""
    for k_tokens in (100, 1000):
        explained = [built.explain(vectors=query, k=1, k_tokens=k_tokens) for query in encoded.queries]
        assert {one.round_trips for one in explained} == {2}
        assert all(one.tokens_retrieved == k_tokens * len(query) for one, query in zip(explained, encoded.queries, strict=True))
    assert explained[0].tokens_decoded < sum(len(vectors) for vectors in encoded.vectors)
