"""All reading calls work in read-only transactions and on a hot standby."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

import pgretrieval
from pgretrieval.db.embedded import open_server
from tests.fixtures.collections import Corpus
from tests.fixtures.postgres import EMBEDDED_VERSIONS, reachable_directory
from tests.support.sql import vector_array
from tests.support.standby import standby_of, wait_for_replay

COLLECTIONS: dict[str, dict[str, Any]] = {
    "coded": {},
    "kept": {"keep_vectors": True},
    "proxies": {"generator": "proxy"},
    "waiting": {},
}

# Of one collection.
STATEMENTS = {
    "search": "select * from pgretrieval.search(%(name)s, %(query)s::vector[])",
    "filter": "select * from pgretrieval.search(%(name)s, %(query)s::vector[], filter => '$.number < 50')",
    "among": "select * from pgretrieval.search(%(name)s, %(query)s::vector[], among => array['p3', 'p4'])",
    "text_search": "select * from pgretrieval.text_search(%(name)s, 'text of passage 7')",
    "hybrid_search": "select * from pgretrieval.hybrid_search(%(name)s, %(query)s::vector[], 'passage 7')",
    "stats": "select pgretrieval.stats(%(name)s)",
    "collections": "select * from pgretrieval.collections where name = %(name)s",
    "maxsim": """select passage_id, pgretrieval.maxsim(vectors, %(query)s::vector[]) from pgretrieval.token_vector
                 order by collection_id, passage_id""",
}


def fill(database: pgretrieval.RetrievalDatabase, corpus: Corpus) -> None:
    """The corpus in a collection of every kind."""
    for name, options in COLLECTIONS.items():
        collection = database.create_collection(name, **options)
        collection.add(corpus.passages, vectors=corpus.vectors)
        if name != "waiting":
            collection.build()


def answer(connection: psycopg.Connection[Any], statement: str, name: str, corpus: Corpus) -> list[tuple[Any, ...]]:
    """The rows of a statement, at least one."""
    rows = connection.execute(statement, {"name": name, "query": vector_array(corpus.queries[0])}).fetchall()
    assert rows
    return rows


def answers(url: str, corpus: Corpus) -> dict[str, Any]:
    """Results of the Python client."""
    with pgretrieval.connect(url=url) as database:
        found: dict[str, Any] = {"": database.list_collections()}
        for name in COLLECTIONS:
            docs = database.get_collection(name)
            found[name] = docs.stats()["passages"], [hit.id for hit in docs.text_search("passage 7")]
            if name != "waiting":
                searches = (
                    *docs.search_many(vectors=corpus.queries),
                    docs.search(vectors=corpus.queries[0], where={"number": {"$lt": 50}}),
                    docs.search(vectors=corpus.queries[0], k=300),
                    docs.hybrid_search("passage 7", vectors=corpus.queries[0]),
                    docs.explain(vectors=corpus.queries[0]).hits,
                )
                found[f"{name} built"] = [[hit.id for hit in hits] for hits in searches]
    return found


@pytest.fixture(scope="module")
def filled(module_database: pgretrieval.RetrievalDatabase, corpus: Corpus) -> str:
    """URL of a database with all collections."""
    fill(module_database, corpus)
    return module_database.url


@pytest.mark.parametrize("statement", STATEMENTS.values(), ids=STATEMENTS)
def test_statements_in_a_read_only_transaction(filled: str, corpus: Corpus, statement: str):
    """Reading functions neither write nor create temporary tables."""
    with psycopg.connect(filled, autocommit=True) as connection:
        expected = {name: answer(connection, statement, name, corpus) for name in COLLECTIONS}
        connection.execute("begin read only")
        assert {name: answer(connection, statement, name, corpus) for name in COLLECTIONS} == expected
        connection.execute("commit")


def test_the_client_where_every_transaction_is_read_only(filled: str, corpus: Corpus):
    """Connecting and searching in Python do not write."""
    expected = answers(filled, corpus)
    separator = "&" if "?" in filled else "?"
    assert answers(f"{filled}{separator}options=-cdefault_transaction_read_only%3Don", corpus) == expected


@contextmanager
def replicated(folder: Path, version: int, corpus: Corpus) -> Iterator[tuple[str, str]]:
    """URLs of a filled server and of its standby."""
    server = open_server(folder / "primary", postgres_version=version)
    try:
        with pgretrieval.connect(data_dir=folder / "primary") as database:
            fill(database, corpus)
        with standby_of(server, folder) as standby:
            yield server.url, standby
    finally:
        server.close()


@pytest.fixture(scope="module", params=EMBEDDED_VERSIONS.values(), ids=EMBEDDED_VERSIONS)
def servers(request: pytest.FixtureRequest, corpus: Corpus) -> Iterator[tuple[str, str]]:
    """URLs of a filled server and of its standby, in each version."""
    with reachable_directory() as folder, replicated(folder, request.param, corpus) as urls:
        wait_for_replay(*urls)
        yield urls


@pytest.mark.parametrize("statement", STATEMENTS.values(), ids=STATEMENTS)
def test_statements_on_a_standby(servers: tuple[str, str], corpus: Corpus, statement: str):
    """A standby gives the primary's results in SQL."""
    primary, standby = servers
    with psycopg.connect(primary) as here, psycopg.connect(standby) as there:
        assert there.execute("select pg_is_in_recovery()").fetchone() == (True,)
        for name in COLLECTIONS:
            assert answer(there, statement, name, corpus) == answer(here, statement, name, corpus)


def test_the_client_on_a_standby(servers: tuple[str, str], corpus: Corpus):
    """A standby gives the primary's results in Python."""
    primary, standby = servers
    assert answers(standby, corpus) == answers(primary, corpus)


def test_a_standby_finds_passages_added_on_the_primary(servers: tuple[str, str], corpus: Corpus):
    """A client of the standby finds new passages, and its writes raise an error with the reason."""
    primary, standby = servers
    query = corpus.queries[1]
    with pgretrieval.connect(url=primary) as here, pgretrieval.connect(url=standby) as there:
        docs = there.get_collection("coded")
        before = docs.search(vectors=query, k=1)
        with pytest.raises(pgretrieval.StorageError, match=r"read-only|recovery"):
            docs.add([{"id": "new", "text": "text"}], vectors=[query])
        here.get_collection("coded").add([{"id": "new", "text": "text"}], vectors=[query])
        try:
            wait_for_replay(primary, standby)
            assert [hit.id for hit in docs.search(vectors=query, k=2)] == ["new", before[0].id]
        finally:
            with psycopg.connect(primary) as connection:
                connection.execute("select pgretrieval.delete_passage('coded', 'new')")
        wait_for_replay(primary, standby)
        assert docs.search(vectors=query, k=1)[0].id == before[0].id
