"""Handles of the rows that belong to one collection, to one of its indexes or to a factorisation, in all tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import TupleRow

from pgretrieval.db import connection as server
from pgretrieval.db.connection import Connection
from pgretrieval.types import CodebookId, CollectionId


@dataclass(frozen=True, slots=True)
class CollectionTables:
    """The rows of one collection, over one connection."""

    connection: Connection
    collection_id: CollectionId

    def index(self, codebook_id: CodebookId) -> IndexTables:
        """Return the handle of one of the collection's indexes."""
        return IndexTables(self.connection, self.collection_id, codebook_id)

    def factorization(self, factorization_id: int) -> FactorizationTables:
        """Return the handle of one of the collection's factorisations."""
        return FactorizationTables(self.connection, self.collection_id, factorization_id)

    @property
    def ids(self) -> dict[str, Any]:
        """Parameters of a statement that select the rows."""
        return {"collection_id": self.collection_id}

    def execute(self, statement: Any, /, **parameters: Any) -> psycopg.Cursor[TupleRow]:
        """Execute a statement with the ids and further parameters."""
        return self.connection.execute(statement, self.ids | parameters)

    def rows(self, statement: Any, /, **parameters: Any) -> list[TupleRow]:
        """Return all rows of a statement."""
        return self.execute(statement, **parameters).fetchall()

    def binary_rows(self, statement: Any, /, **parameters: Any) -> list[TupleRow]:
        """Return all rows of a statement, sent in binary form."""
        return self.connection.execute(statement, self.ids | parameters, binary=True).fetchall()

    def one(self, statement: Any, /, **parameters: Any) -> TupleRow | None:
        """Return the first row of a statement, or None."""
        return server.one(self.connection, statement, self.ids | parameters)

    def value(self, statement: Any, /, **parameters: Any) -> Any:
        """Return the first column of the first row, or None."""
        return server.value(self.connection, statement, self.ids | parameters)


@dataclass(frozen=True, slots=True)
class IndexTables(CollectionTables):
    """The rows of a collection and of one of its indexes: the active one, or one that a build writes beside it."""

    codebook_id: CodebookId

    def over(self, connection: Connection) -> IndexTables:
        """Return the handle of the same rows over another connection."""
        return IndexTables(connection, self.collection_id, self.codebook_id)

    @property
    def ids(self) -> dict[str, Any]:
        """Parameters of a statement that select the rows."""
        return {"collection_id": self.collection_id, "codebook_id": self.codebook_id}


@dataclass(frozen=True, slots=True)
class FactorizationTables(CollectionTables):
    """The rows of a collection and of one of its factorisations: the active one, or one that is made beside it."""

    factorization_id: int

    @property
    def ids(self) -> dict[str, Any]:
        """Parameters of a statement that select the rows."""
        return {"collection_id": self.collection_id, "factorization_id": self.factorization_id}
