"""Handles give a statement the ids of a collection, of one of its indexes or of one of its factorisations."""

from __future__ import annotations

from typing import Any

import pytest
from psycopg import Connection

from pgretrieval.db.handles import CollectionTables, IndexTables
from pgretrieval.types import CodebookId, CollectionId

PLACEHOLDERS = {name: f"%({name})s::int" for name in ("collection_id", "codebook_id", "factorization_id")}


@pytest.fixture
def tables(connection: Connection[Any]) -> CollectionTables:
    return CollectionTables(connection, CollectionId(3))


@pytest.mark.parametrize(
    ("kind", "ids"),
    [
        ("collection", {"collection_id": 3}),
        ("index", {"collection_id": 3, "codebook_id": 5}),
        ("factorization", {"collection_id": 3, "factorization_id": 8}),
    ],
)
def test_statement_gets_the_ids_of_the_handle(tables: CollectionTables, kind: str, ids: dict[str, int]) -> None:
    """Each way to execute a statement adds the handle's ids to the parameters of the call."""
    handle = {"collection": tables, "index": tables.index(CodebookId(5)), "factorization": tables.factorization(8)}[kind]
    statement = f"select {', '.join(PLACEHOLDERS[name] for name in ids)}, %(n)s::int"
    expected = (*ids.values(), 7)
    assert handle.execute(statement, n=7).fetchall() == [expected]
    assert handle.rows(statement, n=7) == handle.binary_rows(statement, n=7) == [expected]
    assert handle.one(statement, n=7) == expected
    assert handle.value(statement, n=7) == 3


def test_binary_rows_come_in_binary_form(tables: CollectionTables) -> None:
    """A type that the driver does not know comes as text, or as the bytes that `binary_rows` asks for."""
    statement = "select point(1, 2), %(collection_id)s::int"
    assert tables.rows(statement) == [("(1,2)", 3)]
    [(sent, _)] = tables.binary_rows(statement)
    assert isinstance(sent, bytes)


def test_index_over_another_connection_is_the_same_index(tables: CollectionTables, database_url: str) -> None:
    """Only the connection differs."""
    with Connection.connect(database_url) as other:
        assert tables.index(CodebookId(5)).over(other) == IndexTables(other, CollectionId(3), CodebookId(5))
