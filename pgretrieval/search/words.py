"""Search by words, computed on the server (docs/reference/sql.md)."""

from __future__ import annotations

from pgretrieval.assets import statements
from pgretrieval.db.connection import Database
from pgretrieval.db.tables import collections
from pgretrieval.db.tables.collections import CollectionRow
from pgretrieval.search.explain import Explanation
from pgretrieval.search.options import ScanOptions
from pgretrieval.types import Hit, Restriction

_SQL = statements("words")
_LISTED = 1_000  # the depth that is usual where BM25 is reranked
_MOST = 100_000_000  # the function's maximum


def text_search(
    database: Database, collection: CollectionRow, query_text: str, k: int, restriction: Restriction | None
) -> Explanation:
    """Return the k best passages by BM25. Raises CollectionNotFoundError if the collection was dropped."""
    report, restricted = Explanation(), restriction or Restriction()
    named = {"name": collection.name, "query_text": query_text, "k": min(k, _MOST), **restricted.named}
    with report.stage("words"), database.reading(f"searching collection {collection.name!r}") as connection:
        collections.require(collection.tables(connection), collection.identity)
        rows = connection.execute(_SQL["text_search"].format(among=restricted.ids), named).fetchall()
    report.hits = [Hit(*row) for row in rows]
    return report


def listed_by_words(k: int, options: ScanOptions) -> int:
    """Return how many passages the search by words lists for exact scores."""
    return options.candidates or max(_LISTED, k)


def unlisted_by_words(listed: int) -> str:
    """Return what a passage lacks that is not among so many listed ones."""
    return f"It is not among the {listed:,} passages that the search by words lists. Raise candidates to list more."
