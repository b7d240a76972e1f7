"""Search by words, computed on the server (docs/reference/sql.md)."""

from __future__ import annotations

import re
from collections.abc import Sequence

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
_START, _END = "\ue000", "\ue001"  # characters that no text has
_WHOLE = f"HighlightAll=true, StartSel={_START}, StopSel={_END}"


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


def found_words(
    database: Database, collection: CollectionRow, query_text: str, texts: Sequence[str]
) -> list[list[tuple[int, int]]]:
    """Return where the words of a query are in each text: offsets of their first characters, and those after their last.

    The server compares them, so that a word is found in other forms.
    """
    named = {"language": collection.language, "query_text": query_text, "texts": list(texts), "options": _WHOLE}
    with database.reading(f"searching collection {collection.name!r}") as connection:
        marked = [row[0] or "" for row in connection.execute(_SQL["marked"], named).fetchall()]
    return [_places(text, each) for text, each in zip(texts, marked, strict=True)]


def _places(text: str, marked: str) -> list[tuple[int, int]]:
    """Return the marked places of a text; none if it has marks of its own."""
    parts = re.split(f"[{_START}{_END}]", marked)
    if "".join(parts) != text:
        return []
    places, done = [], 0
    for number, part in enumerate(parts):
        if number % 2:
            places.append((done, done + len(part)))
        done += len(part)
    return places


def listed_by_words(k: int, options: ScanOptions) -> int:
    """Return how many passages the search by words lists for exact scores."""
    return options.candidates or max(_LISTED, k)


def unlisted_by_words(listed: int) -> str:
    """Return what a passage lacks that is not among so many listed ones."""
    return f"It is not among the {listed:,} passages that the search by words lists. Raise candidates to list more."
