"""Searches continue with the same results during an upgrade of the schema."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest

import pgretrieval
from pgretrieval import assets
from pgretrieval.database import open_database
from tests.fixtures.collections import Corpus
from tests.support.catalog import catalogue
from tests.support.meanwhile import meanwhile
from tests.support.revisions import later_revisions
from tests.support.sql import vector_array

pytestmark = pytest.mark.both_versions

Search = Callable[[], object]

# What a later revision may do: columns for a row type that functions hold in variables, an index, another function.
CHANGES = """
    alter table pgretrieval.collection add column later{n} integer, add column named{n} text not null default 'x';
    alter table pgretrieval.passage add column later{n} text;
    create index later{n} on pgretrieval.passage (later{n});
    create function pgretrieval.later{n}() returns integer language sql return {n};
"""
SEARCH = "select id from pgretrieval.search('docs', %(query)s::vector[])"
STATEMENTS = {
    "search": SEARCH,
    "filtered": "select id from pgretrieval.search('docs', %(query)s::vector[], filter => '$.number < 100')",
    "text_search": "select id from pgretrieval.text_search('docs', 'passage 7')",
    "hybrid_search": "select id from pgretrieval.hybrid_search('docs', %(query)s::vector[], 'passage 7')",
    "stats": "select pgretrieval.stats('docs') ->> 'passages'",
    "collections": "select name, built from pgretrieval.collections where built",
}


@pytest.fixture
def docs(database: pgretrieval.RetrievalDatabase, corpus: Corpus) -> pgretrieval.Collection:
    """The corpus, built and searched once."""
    docs = database.create_collection("docs")
    docs.add(corpus.passages, vectors=corpus.vectors)
    docs.build()
    docs.search(vectors=corpus.queries[0])
    return docs


def by_the_client(docs: pgretrieval.Collection, corpus: Corpus) -> list[Search]:
    """Searches of the Python client with the same results each time."""

    def one() -> list[str]:
        return [hit.id for hit in docs.search(vectors=corpus.queries[0])]

    def many() -> list[list[str]]:
        return [[hit.id for hit in hits] for hits in docs.search_many(vectors=corpus.queries)]

    def again(search: Callable[[], object], expected: object) -> None:
        assert search() == expected

    return [partial(again, search, search()) for search in (one, many)]


@pytest.fixture
def in_sql(docs: pgretrieval.Collection, database_url: str, corpus: Corpus) -> Iterator[list[Search]]:
    """All reading statements, one connection each: prepared, and in transactions of several searches."""
    parameters = {"query": vector_array(corpus.queries[0])}

    def prepared(connection: psycopg.Connection[Any], statement: str) -> Search:
        expected = connection.execute(statement, parameters).fetchall()
        assert expected

        def run() -> None:
            assert connection.execute(statement, parameters, prepare=True).fetchall() == expected

        return run

    def in_one_snapshot(connection: psycopg.Connection[Any]) -> Search:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ

        def run() -> None:
            with connection.transaction():
                assert len({tuple(connection.execute(SEARCH, parameters).fetchall()) for _ in range(3)}) == 1

        return run

    with ExitStack() as stack:
        connections = [stack.enter_context(psycopg.connect(database_url, autocommit=True)) for _ in range(len(STATEMENTS) + 1)]
        searches = [prepared(connection, text) for connection, text in zip(connections[1:], STATEMENTS.values(), strict=True)]
        yield [*searches, in_one_snapshot(connections[0])]


def test_functions_and_views_are_created_again(
    docs: pgretrieval.Collection, in_sql: list[Search], database_url: str, corpus: Corpus
):
    """Searches survive the replacement of functions and views."""

    def connecting() -> None:
        with pgretrieval.connect(url=database_url) as other:
            assert other.list_collections() == ["docs"]

    with meanwhile(*by_the_client(docs, corpus), *in_sql, connecting), open_database(database_url) as installer:
        for _ in range(3):
            installer.migrate()


def test_a_later_revision_changes_tables(
    database: pgretrieval.RetrievalDatabase,
    docs: pgretrieval.Collection,
    in_sql: list[Search],
    corpus: Corpus,
    monkeypatch: pytest.MonkeyPatch,
):
    """Searches survive changed tables, without deadlocks or invalid prepared statements."""
    functions = assets.functions()
    other = database.create_collection("other", dim=64)
    ids = itertools.count()

    def adding() -> None:
        other.add([{"id": next(ids), "text": "one more"}], vectors=[corpus.queries[0]])

    jobs = [*by_the_client(docs, corpus), *in_sql, adding]
    with meanwhile(*jobs), open_database(database.url) as installer:
        for n in range(3):
            with monkeypatch.context() as patched:
                patched.setattr(assets, "functions", lambda n=n: [CHANGES.format(n=n), *functions])
                installer.migrate()


def test_an_upgrade_that_may_not_wait_gives_up(database_url: str, docs: pgretrieval.Collection, corpus: Corpus):
    """An upgrade that reaches lock_timeout fails and changes nothing."""
    before = catalogue(database_url)
    impatient = f"{database_url}{'&' if '?' in database_url else '?'}options=-clock_timeout%3D200"
    with psycopg.connect(database_url) as reader, open_database(impatient) as installer:
        reader.execute("select * from pgretrieval.collections")
        with pytest.raises(pgretrieval.StorageError, match="lock timeout"):
            installer.migrate()
        assert catalogue(database_url) == before
        reader.rollback()
        installer.migrate()


def test_the_client_searches_on_through_an_upgrade(
    docs: pgretrieval.Collection, in_sql: list[Search], database_url: str, corpus: Corpus, tmp_path: Path
):
    """A connected client returns the same hits during and after an upgrade."""
    with (
        later_revisions(tmp_path) as later,
        meanwhile(*by_the_client(docs, corpus), *in_sql),
        open_database(database_url) as installer,
    ):
        assert installer.migrate() == later[-1]
