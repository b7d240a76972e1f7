"""The client and the functions behind a pooler in transaction mode."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

import pgretrieval
from pgretrieval.database import open_database
from pgretrieval.db import schema
from tests.fixtures.collections import Corpus
from tests.support.catalog import catalogue
from tests.support.meanwhile import meanwhile
from tests.support.pooler import pooler
from tests.support.sql import vector_array


@pytest.fixture(params=["emulated", "pgbouncer"])
def kind(request: pytest.FixtureRequest) -> str:
    """The pooler in use."""
    return str(request.param)


@pytest.fixture
def pooled_url(kind: str, database_url: str) -> Iterator[str]:
    """URL of the test's database through the pooler."""
    with pooler(kind, database_url) as url:
        yield url


@pytest.fixture
def pooled(pooled_url: str) -> Iterator[pgretrieval.RetrievalDatabase]:
    """`pgretrieval.connect` through the pooler."""
    with pgretrieval.connect(url=pooled_url) as opened:
        yield opened


def ids(hits: list[pgretrieval.Hit]) -> list[str]:
    """Hits without scores, whose last digits depend on the order of passages."""
    return [hit.id for hit in hits]


def left_in_sessions(url: str) -> list[tuple[Any, ...]]:
    """State that clients left in the pooler's sessions, read in many transactions to reach all of them."""
    seen = set()
    with psycopg.connect(url, autocommit=True, prepare_threshold=None) as connection:
        for _ in range(40):
            seen |= set(
                connection.execute(
                    """select 'statement', statement from pg_prepared_statements
                       union all select 'lock', relation::regclass::text from pg_locks
                           where relation::regclass::text ~ '_lock_' and locktype = 'relation'
                       union all select 'setting', name from pg_settings where source = 'session'
                           and name not in ('application_name', 'client_encoding', 'DateStyle', 'TimeZone',
                                            'standard_conforming_strings')
                       union all select 'table', relname from pg_class where relpersistence = 't'"""
                ).fetchall()
            )
    return sorted(seen)


def test_each_transaction_has_another_session(pooled_url: str):
    """The poolers of these tests change sessions between transactions."""
    with psycopg.connect(pooled_url, autocommit=True) as connection:

        def session() -> int:
            return connection.execute("select pg_backend_pid()").fetchone()[0]

        assert len({session() for _ in range(4)}) > 1
        with connection.transaction():
            assert len({session() for _ in range(4)}) == 1

        def prepared() -> None:
            for _ in range(8):
                connection.execute("select 1", prepare=True)

        with pytest.raises((psycopg.errors.InvalidSqlStatementName, psycopg.errors.DuplicatePreparedStatement)):
            prepared()
    with pytest.raises(psycopg.OperationalError, match="unsupported startup parameter"):
        psycopg.connect(pooled_url, options="-c work_mem=64MB")


def test_only_behind_a_pooler_nothing_is_prepared(database: pgretrieval.RetrievalDatabase, pooled: pgretrieval.RetrievalDatabase):
    """Statements are prepared on direct connections and not behind a pooler."""
    with database._database.connection("looking") as direct, pooled._database.connection("looking") as indirect:
        assert direct.prepare_threshold is not None
        assert indirect.prepare_threshold is None


def test_the_client_does_everything_through_a_pooler(
    pooled: pgretrieval.RetrievalDatabase, pooled_url: str, database_url: str, corpus: Corpus
):
    """No call needs session state of an earlier transaction."""
    docs = pooled.create_collection("docs", keep_vectors=True)
    docs.add(corpus.passages[:200], vectors=corpus.vectors[:200])
    assert docs.build().built
    docs.add(corpus.passages[200:], vectors=corpus.vectors[200:])
    with pgretrieval.connect(url=database_url) as direct:
        expected = direct.get_collection("docs")
        for query in corpus.queries:
            assert ids(docs.search(vectors=query)) == ids(expected.search(vectors=query))
            assert ids(docs.hybrid_search("passage 7", vectors=query)) == ids(expected.hybrid_search("passage 7", vectors=query))
        many = docs.search_many(vectors=corpus.queries)
        assert list(map(ids, many)) == list(map(ids, expected.search_many(vectors=corpus.queries)))
        assert ids(docs.search(vectors=query, k=300)) == ids(expected.search(vectors=query, k=300))
        assert ids(docs.text_search("passage 7")) == ids(expected.text_search("passage 7"))
        assert ids(docs.explain(vectors=query).hits) == ids(expected.search(vectors=query))
        assert docs.stats() == expected.stats()
        assert [finding for finding in pooled.diagnose() if finding.level == "problem"] == []
    pooled.drop_collection("docs")
    assert left_in_sessions(pooled_url) == []


def test_many_clients_share_few_sessions(pooled: pgretrieval.RetrievalDatabase, pooled_url: str, corpus: Corpus):
    """Clients leave nothing in shared sessions."""
    docs = pooled.create_collection("docs")
    docs.add(corpus.passages, vectors=corpus.vectors)
    docs.build()
    expected = ids(docs.search(vectors=corpus.queries[0]))
    parameters = {"query": vector_array(corpus.queries[0]), "id": "one more"}
    in_sql = "select id from pgretrieval.search('docs', %(query)s::vector[])"

    def python() -> None:
        with pgretrieval.connect(url=pooled_url) as database:
            for _ in range(3):
                assert ids(database.get_collection("docs").search(vectors=corpus.queries[0])) == expected

    def sql() -> None:
        with psycopg.connect(pooled_url, autocommit=True, prepare_threshold=None) as connection:
            found = connection.execute(in_sql, parameters).fetchall()
            assert found[0] == (expected[0],)
            with connection.transaction(force_rollback=True):
                connection.execute("select pgretrieval.add_passage('docs', %(id)s, 'text', %(query)s::vector[])", parameters)
                assert connection.execute(in_sql, parameters).fetchone() == ("one more",)
            assert connection.execute(in_sql, parameters).fetchall() == found

    with meanwhile(python, python, sql, sql):
        pooled.create_collection("other").add(corpus.passages, vectors=corpus.vectors)
    assert left_in_sessions(pooled_url) == []


def test_builds_wait_for_each_other_and_adds_do_not(pooled: pgretrieval.RetrievalDatabase, pooled_url: str, corpus: Corpus):
    """A build's lock lasts for the build and not longer."""
    docs = pooled.create_collection("docs")
    docs.add(corpus.passages[:200], vectors=corpus.vectors[:200])
    built, building = threading.Event(), []

    def build() -> None:
        with pgretrieval.connect(url=pooled_url) as other:
            other.get_collection("docs").build()
        built.set()

    def meanwhile(stage: str, _done: int, _total: int) -> None:
        if not building:
            building.append(threading.Thread(target=build, daemon=True))
            building[0].start()
            with pgretrieval.connect(url=pooled_url) as other:
                other.get_collection("docs").add(corpus.passages[200:], vectors=corpus.vectors[200:])
        assert not built.wait(0.2 if stage == "index" else 0), "another build came in between"

    docs.build(stage=meanwhile)
    assert built.wait(30)
    assert docs.search(vectors=corpus.vectors[250], k=1)[0].id == "p250"
    assert docs.build().built is False


def test_migrating_through_a_pooler(kind: str, empty_database_url: str, database_url: str):
    """An installation needs a single transaction."""
    with pooler(kind, empty_database_url) as url:
        for _ in range(2):
            with open_database(url) as database:
                assert database.migrate() == schema.head_revision()
        assert left_in_sessions(url) == []
    assert catalogue(empty_database_url) == catalogue(database_url)
