"""Collections as rows: create, find, list, drop, and the choices that the first add settles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from psycopg import errors as pg
from psycopg import sql
from psycopg.types.json import Jsonb

from pgretrieval.assets import statements
from pgretrieval.db.connection import Connection, Database, one, value
from pgretrieval.errors import CollectionExistsError, CollectionNotFoundError
from pgretrieval.types import CodebookId, CollectionId

_SQL = statements("catalog")


@dataclass(frozen=True, slots=True)
class CollectionRow:
    """One row of `pgretrieval.collection`."""

    collection_id: CollectionId
    name: str
    encoder: dict[str, str] | None
    dim: int | None
    bits: int
    levels: str
    codebook_id: CodebookId | None


@dataclass(frozen=True, slots=True)
class Counts:
    """Passages, their tokens, and how many passages wait for a build."""

    passages: int
    tokens: int
    staged: int


def create(database: Database, name: str, dim: int | None, encoder: dict[str, str] | None, bits: int, levels: str) -> None:
    """Raises CollectionExistsError."""
    parameters = {"name": name, "dim": dim, "encoder": Jsonb(encoder) if encoder else None, "bits": bits, "levels": levels}
    with database.writing(f"creating collection {name!r}") as connection:
        try:
            connection.execute(_SQL["create_collection"], parameters)
        except pg.UniqueViolation as error:
            msg = f"collection {name!r} is there already; get_collection opens it, drop_collection removes it"
            raise CollectionExistsError(msg) from error


def find(database: Database, name: str) -> CollectionRow:
    """Raises CollectionNotFoundError with the names that there are."""
    with database.connection(f"looking up collection {name!r}") as connection:
        row = one(connection, _SQL["collection"], {"name": name})
    if row is None:
        there = ", ".join(repr(other) for other in names(database)[:20]) or "none yet"
        msg = f"no collection {name!r} in this database; there are: {there}"
        raise CollectionNotFoundError(msg)
    return CollectionRow(*row)


def names(database: Database) -> list[str]:
    """All collections, by name."""
    with database.connection("listing collections") as connection:
        return [row[0] for row in connection.execute(_SQL["collections"]).fetchall()]


def drop(database: Database, name: str) -> bool:
    """Drop with everything it holds; False where there is none."""
    with database.writing(f"dropping collection {name!r}") as connection:
        return bool(value(connection, _SQL["drop_collection"], {"name": name}))


def lock_for_add(connection: Connection, collection_id: CollectionId) -> tuple[int | None, CodebookId | None]:
    """Keep builds away until the transaction ends; returns the dimension and the active codebook as they are now.

    Raises CollectionNotFoundError where it was dropped meanwhile.
    """
    connection.execute(_SQL["lock_collection"], {"collection_id": collection_id})
    row = one(connection, _SQL["active_state"], {"collection_id": collection_id})
    if row is None:
        msg = "the collection was dropped"
        raise CollectionNotFoundError(msg)
    return row[0], row[1]


def settle(connection: Connection, collection_id: CollectionId, dim: int, encoder: dict[str, str] | None) -> int:
    """Fill in what creation left open; returns the dimension that holds."""
    parameters = {"collection_id": collection_id, "dim": dim, "encoder": Jsonb(encoder) if encoder else None}
    return int(value(connection, _SQL["settle"], parameters))


def counts(database: Database, collection_id: CollectionId) -> Counts:
    """Counted, not estimated."""
    with database.reading("counting passages") as connection:
        row = one(connection, _SQL["counts"], {"collection_id": collection_id})
    return Counts(*row) if row else Counts(0, 0, 0)


def bytes_by_table(database: Database, collection_id: CollectionId) -> dict[str, dict[str, int]]:
    """{table: {"table": heap and toast bytes, "indexes": bytes}} of the collection's partitions."""
    with database.connection("measuring tables") as connection:
        rows = connection.execute(_SQL["bytes_by_table"], {"collection_id": collection_id}).fetchall()
    return {table: {"table": int(table_bytes), "indexes": int(index_bytes)} for table, table_bytes, index_bytes in rows}


def vacuum(connection: Connection, collection_id: CollectionId, *tables: str) -> None:
    """VACUUM ANALYZE of the collection's partitions; outside a transaction."""
    for table in tables:
        partition = sql.Identifier("pgretrieval", f"{table}_{collection_id}")
        connection.execute(sql.SQL(_SQL["vacuum"]).format(partition=partition))


def execution_settings(database: Database) -> dict[str, Any]:
    """Server version, pgvector version and the settings that matter here, as `doctor` shows them."""
    with database.connection("reading server settings") as connection:
        return {name: setting for name, setting in connection.execute(_SQL["server_settings"]).fetchall()}
