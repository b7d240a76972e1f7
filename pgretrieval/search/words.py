"""Searches by words alone: the server does all of it (docs/reference/sql.md)."""

from __future__ import annotations

from pgretrieval.assets import statements
from pgretrieval.db.connection import Database
from pgretrieval.db.tables import catalog
from pgretrieval.db.tables.catalog import CollectionRow
from pgretrieval.types import Hit, Restriction

_SQL = statements("words")
_MOST = 100_000_000  # that the function takes


def text_search(database: Database, collection: CollectionRow, query_text: str, k: int, restriction: Restriction) -> list[Hit]:
    """The k best passages by BM25. Raises CollectionNotFoundError where the collection was dropped."""
    named = {"name": collection.name, "query_text": query_text, "k": min(k, _MOST), **restriction.named}
    with database.reading(f"searching collection {collection.name!r}") as connection:
        catalog.require(connection, collection.collection_id, collection.identity)
        rows = connection.execute(_SQL["text_search"].format(among=restriction.ids), named).fetchall()
    return [Hit(*row) for row in rows]
