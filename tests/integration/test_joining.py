"""connection= of applications and frameworks: their settings neither affect calls nor change."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
import sqlalchemy
from psycopg.rows import dict_row
from psycopg.types.string import TextLoader
from sqlalchemy.orm import Session

import pgretrieval
from pgretrieval import ConfigError
from tests.fixtures.postgres import PostgresUnderTest
from tests.support.encoder import HashedEncoder


@pytest.fixture
def docs(database_url: str) -> Iterator[pgretrieval.Collection]:
    """A built collection with metadata."""
    with pgretrieval.connect(url=database_url) as database:
        docs = database.create_collection("docs", encoder=HashedEncoder())
        docs.add([{"id": n, "text": f"word{n} common", "metadata": {"n": n}} for n in range(20)])
        docs.build()
        yield docs


def plain(url: str) -> Any:
    return psycopg.connect(url)


def client_side(url: str) -> Any:
    return psycopg.connect(url, cursor_factory=psycopg.ClientCursor)


def autocommitting(url: str) -> Any:
    return psycopg.connect(url, autocommit=True)


def of_dictionaries(url: str) -> Any:
    return psycopg.connect(url, row_factory=dict_row)


def unprepared(url: str) -> Any:
    return psycopg.connect(url, prepare_threshold=None)


def with_own_types(url: str) -> Any:
    """With jsonb read as Django does."""
    connection = psycopg.connect(url, cursor_factory=psycopg.ClientCursor)
    for name in ("jsonb", "json", "int4", "int8", "float4", "bytea", "uuid"):
        connection.adapters.register_loader(name, TextLoader)
    return connection


def of_sqlalchemy(url: str) -> Any:
    return sqlalchemy.create_engine(
        url.replace("postgresql://", "postgresql+psycopg://", 1), poolclass=sqlalchemy.NullPool
    ).connect()


def of_an_orm(url: str) -> Any:
    return Session(of_sqlalchemy(url).engine)


def settings(connection: psycopg.Connection[Any]) -> tuple[Any, ...]:
    """Settings that an application may have changed."""
    cursor = connection.cursor()
    return (
        connection.autocommit,
        connection.row_factory,
        connection.cursor_factory,
        connection.prepare_threshold,
        connection.isolation_level,
        connection.read_only,
        connection.info.encoding,
        connection.pgconn.notice_handler,
        [str(connection.adapters.get_loader(oid, psycopg.pq.Format.TEXT)) for oid in (23, 25, 114, 3802, 17)],
        [str(cursor.adapters.get_loader(oid, psycopg.pq.Format.TEXT)) for oid in (23, 25, 114, 3802, 17)],
        type(cursor),
    )


@pytest.mark.parametrize(
    "connecting",
    [plain, client_side, autocommitting, of_dictionaries, unprepared, with_own_types, of_sqlalchemy, of_an_orm],
    ids=lambda connecting: connecting.__name__,
)
def test_changes_over_a_connection_of_any_kind(docs: pgretrieval.Collection, database_url: str, connecting: Any):
    """Connections with any cursor class, row factory and types work and are unchanged afterwards."""
    with connecting(database_url) as own:
        driver = own
        if isinstance(own, Session):
            driver = own.connection().connection.driver_connection
        elif isinstance(own, sqlalchemy.Connection):
            driver = own.connection.driver_connection
        before = settings(driver)
        docs.add([{"id": "new", "text": "brandnew common", "metadata": {"n": 1.5, "é": [None, True]}}], connection=own)
        docs.add([{"id": "1", "text": "word1 common", "metadata": {"n": 1}}], on_conflict="update", connection=own)
        docs.update([{"id": 2, "text": "changed common"}, {"id": 3, "metadata": {"n": "three"}}], connection=own)
        assert docs.delete(["4"], where={"n": 4}, connection=own) == 1
        assert settings(driver) == before
        own.commit()
    held = docs.get(["new", "1", "2", "3", "4"])
    assert held["new"].metadata == {"n": 1.5, "é": [None, True]}
    assert held["2"] == pgretrieval.Passage("2", "changed common", None, {"n": 2})
    assert held["3"] == pgretrieval.Passage("3", "word3 common", None, {"n": "three"})
    assert "4" not in held
    assert docs.search("brandnew", k=1)[0].id == "new"
    assert docs.check() == []


def test_types_that_an_application_registers_for_all(docs: pgretrieval.Collection, database_url: str):
    """Types registered globally in psycopg.adapters do not affect results."""
    code = """
import sys, psycopg
from psycopg.types.string import TextLoader
import pgretrieval
for name in ("jsonb", "int4", "int8", "float4", "bytea", "uuid", "bool"):
    psycopg.adapters.register_loader(name, TextLoader)
with pgretrieval.connect(url=sys.argv[1]) as database:
    docs = database.get_collection("docs")
    assert docs.get(["5"])["5"].metadata == {"n": 5}
    assert docs.text_search("word5", k=1)[0].metadata == {"n": 5}
    assert docs.check() == []
"""
    subprocess.run([sys.executable, "-c", code, database_url], check=True, timeout=120)


def test_a_connection_to_another_database_is_refused(docs: pgretrieval.Collection, postgres: PostgresUnderTest, database_url: str):
    """A connection to another database is refused."""
    other = postgres.create_database()
    try:
        with pgretrieval.connect(url=other) as database:
            database.create_collection("docs", encoder=HashedEncoder())
        with psycopg.connect(other) as own:
            for change in (
                lambda: docs.add([{"id": "n", "text": "x"}], connection=own),
                lambda: docs.update([{"id": "1", "text": "x"}], connection=own),
                lambda: docs.delete(["1"], connection=own),
            ):
                with pytest.raises(ConfigError, match="another database"):
                    change()
        with psycopg.connect(database_url) as own:
            assert docs.delete(["1"], connection=own) == 1
    finally:
        postgres.drop_database(other)


def test_an_unusable_connection_gives_the_reason(docs: pgretrieval.Collection, database_url: str):
    """A connection with another encoding or in pipeline mode is refused with the reason."""
    with psycopg.connect(database_url, client_encoding="LATIN1") as own, pytest.raises(ConfigError, match="set UTF8"):
        docs.delete(["1"], connection=own)
    with psycopg.connect(database_url) as own, own.pipeline(), pytest.raises(ConfigError, match="pipeline mode"):
        docs.delete(["1"], connection=own)


def test_an_aborted_transaction_is_reported(docs: pgretrieval.Collection, database_url: str):
    """The error of an aborted transaction says so."""
    with psycopg.connect(database_url) as own:
        with pytest.raises(psycopg.errors.UndefinedTable):
            own.execute("select * from nowhere")
        with pytest.raises(pgretrieval.StorageError, match="earlier statement of the transaction failed"):
            docs.add([{"id": "n", "text": "x"}], connection=own)
