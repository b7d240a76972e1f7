"""Errors of the server have the right class and message."""

from __future__ import annotations

import copy
import multiprocessing
import os
import pickle
import threading
from urllib.parse import quote

import psycopg
import pytest

import pgretrieval
from pgretrieval import DatabaseUnavailableError, StorageError, TimedOutError
from pgretrieval.database import open_database
from pgretrieval.db import schema
from tests.fixtures.postgres import PostgresUnderTest
from tests.support.encoder import HashedEncoder
from tests.support.own_server import own_server


def with_options(url: str, **settings: str) -> str:
    options = " ".join(f"-c {name}={value}" for name, value in settings.items())
    return f"{url}{'&' if '?' in url else '?'}options={quote(options)}"


@pytest.fixture
def filled(database_url: str) -> str:
    """URL of a database with a collection."""
    with pgretrieval.connect(url=database_url) as database:
        docs = database.create_collection("docs", encoder=HashedEncoder())
        docs.add([{"id": number, "text": f"word{number} common"} for number in range(50)])
    return database_url


def docs_of(database: pgretrieval.RetrievalDatabase) -> pgretrieval.Collection:
    return database.get_collection("docs", encoder=HashedEncoder())


def run(database: pgretrieval.RetrievalDatabase, statement: str) -> None:
    """Run a statement as a call of the package would."""
    with database._database.connection("running it") as connection:
        connection.execute(statement.encode())


def test_a_statement_timeout(filled: str):
    """A statement timeout raises TimedOutError."""
    with pgretrieval.connect(url=with_options(filled, statement_timeout="100")) as database:
        with pytest.raises(TimedOutError, match=r"exceeded its time limit.*raise statement_timeout"):
            run(database, "select pg_sleep(5)")
        docs_of(database).build()  # without a time limit
        assert docs_of(database).search("word1", k=1)[0].id == "1"


def test_a_lock_timeout(filled: str):
    """A lock timeout raises TimedOutError."""
    with (
        pgretrieval.connect(url=with_options(filled, lock_timeout="100")) as database,
        psycopg.connect(filled) as other,
    ):
        docs = docs_of(database)
        other.execute("lock table pgretrieval.passage in access exclusive mode")
        with pytest.raises(TimedOutError, match="another session held a lock for too long"):
            docs.get(["1"])


def test_a_session_that_was_ended(filled: str):
    """An ended session raises DatabaseUnavailableError."""
    with pgretrieval.connect(url=filled) as database, psycopg.connect(filled, autocommit=True) as other:

        def end() -> None:
            other.execute(
                """select pg_terminate_backend(pid) from pg_stat_activity
                   where query like 'select pg_sleep%' and pid <> pg_backend_pid()"""
            )

        threading.Timer(0.5, end).start()
        with pytest.raises(DatabaseUnavailableError, match="the server ended the session"):
            run(database, "select pg_sleep(20)")
        assert database.list_collections() == ["docs"]


def test_a_read_only_server(filled: str):
    """The remedy for a read-only server is to connect to the primary."""
    with pgretrieval.connect(url=with_options(filled, default_transaction_read_only="on")) as database:
        with pytest.raises(StorageError, match=r"read-only.*Connect to the primary") as raised:
            docs_of(database).add([{"id": "new", "text": "text"}])
        assert type(raised.value) is StorageError


def test_a_value_that_is_too_large(filled: str):
    """A value beyond PostgreSQL's limits raises StorageError."""
    with pgretrieval.connect(url=filled) as database:
        with pytest.raises(StorageError, match="too large for PostgreSQL") as raised:
            run(database, "select repeat('x', 2000000000)")
        assert type(raised.value) is StorageError


def test_a_server_without_memory_for_locks():
    """The error for too many locks names max_locks_per_transaction."""
    with own_server() as server:
        with pgretrieval.connect(url=server.url) as database:
            for number in range(25):
                database.create_collection(f"docs{number}", dim=64)
        server.stop()
        server.settings(max_connections="10", max_locks_per_transaction="10")
        server.start()
        with pgretrieval.connect(url=server.url) as database:
            with pytest.raises(
                StorageError,
                match=r"out of shared memory.*raise the setting named in the message, such as max_locks_per_transaction",
            ):
                run(database, "select count(pg_advisory_xact_lock(n)) from generate_series(1, 100000) as n")
            assert len(database.list_collections()) == 25
        with psycopg.connect(server.url) as connection, pytest.raises(psycopg.errors.OutOfMemory) as raised:
            connection.execute(schema.downgrade_script("base"))
        assert raised.value.diag.message_hint is not None
        assert "Drop its collections first" in raised.value.diag.message_hint


def test_connections_that_the_server_refuses(postgres: PostgresUnderTest, filled: str):
    """A refused connection shows the server's message."""
    name, password = postgres.create_role()
    postgres.execute(f"alter role {name} connection limit 1")
    url = postgres.url_of(psycopg.conninfo.conninfo_to_dict(filled)["dbname"], name, password)
    with (
        psycopg.connect(url),
        pytest.raises(DatabaseUnavailableError, match=r"the server refused the connection.*too many connections"),
    ):
        pgretrieval.connect(url=url)
    nowhere = postgres.url_of("there_is_no_such_database")
    with pytest.raises(DatabaseUnavailableError, match=r"the server refused the connection.*does not exist"):
        pgretrieval.connect(url=nowhere)
    with pytest.raises(DatabaseUnavailableError, match="the connection was lost"):
        pgretrieval.connect(url="postgresql://127.0.0.1:1/nowhere")


def test_a_handle_cannot_be_pickled(filled: str):
    """Pickling a handle raises an error that names the remedy."""
    with pgretrieval.connect(url=filled) as database:
        for handle in (database, docs_of(database)):
            for take in (pickle.dumps, copy.deepcopy):
                with pytest.raises(pgretrieval.ConfigError, match="connect again where it is needed"):
                    take(handle)


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_databases_of_other_encodings_are_refused(postgres: PostgresUnderTest, encoding: str):
    """Databases of other encodings than UTF-8 are refused."""
    postgres.execute(f"create database other_encoding encoding '{encoding}' template template0 lc_collate 'C' lc_ctype 'C'")
    try:
        url = postgres.url_of("other_encoding")
        with pytest.raises(
            pgretrieval.SchemaError, match=rf"encoding {encoding}, which cannot hold every text; create one with ENCODING"
        ):
            open_database(url)
        with psycopg.connect(url) as connection, pytest.raises(psycopg.Error, match=f"has the encoding {encoding}") as raised:
            connection.execute(schema.as_sql().encode().replace("…".encode(), b"..."))
        assert raised.value.sqlstate == "PGR01"
    finally:
        postgres.execute("drop database other_encoding with (force)")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
def test_forked_processes_have_connections_of_their_own(filled: str):
    """Parent and forked children use separate connections."""
    with pgretrieval.connect(url=filled) as database:
        docs = docs_of(database)
        docs.get(["1"])

        def right() -> bool:
            return all(list(docs.get([str(number)])) == [str(number)] for number in range(50))

        forking = multiprocessing.get_context("fork")
        answers = forking.SimpleQueue()
        children = [forking.Process(target=lambda: answers.put(right())) for _ in range(3)]
        for child in children:
            child.start()
        assert right()
        for child in children:
            child.join(60)
        assert [answers.get() for _ in children] == [True] * 3
        assert right()
