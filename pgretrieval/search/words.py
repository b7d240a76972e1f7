"""Search by words, computed on the server (docs/reference/sql.md), alone and as the generator of exact MaxSim."""

from __future__ import annotations

from pgretrieval.assets import statements
from pgretrieval.db import candidates as read
from pgretrieval.db.connection import Connection, Database
from pgretrieval.db.tables import collections
from pgretrieval.db.tables.collections import CollectionRow
from pgretrieval.search.explain import Explanation
from pgretrieval.search.loaded import LoadedIndex
from pgretrieval.search.options import ScanOptions, ScanRequest
from pgretrieval.search.scanner import BaseScan
from pgretrieval.types import Float32Array, Hit, Restriction

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


class WordScan(BaseScan):
    """Pending scan of the best passages by words: all are scored exactly, without centroid interaction."""

    def __init__(
        self, connection: Connection, index: LoadedIndex, listed: int, request: ScanRequest, query: Float32Array, text: str
    ) -> None:
        super().__init__(connection, index, request, query)
        with self.report.stage("candidates"):
            self._listed = read.by_words(self._tables, self._restriction or Restriction(), text, listed)

    def generate(self) -> None:
        """Do nothing: the server is listing the passages."""

    def narrow(self) -> None:
        """Read the passages, and request their codes."""
        with self.report.stage("candidates"):
            passage_ids, _ = self._listed.read()
        self.report.candidates = len(passage_ids)
        with self.report.stage("codes"):
            self._request_codes(passage_ids)


def listed_by_words(k: int, options: ScanOptions) -> int:
    """Return how many passages the search by words lists for exact scores."""
    return options.candidates or max(_LISTED, k)
