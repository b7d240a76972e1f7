"""The pipeline of a search: its stages in order, on one snapshot."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

from pgretrieval.db import candidates as read
from pgretrieval.db.connection import Connection, Database
from pgretrieval.db.tables import catalog, passages
from pgretrieval.db.tables.catalog import CollectionRow
from pgretrieval.errors import ConfigError, DimensionMismatchError, EncoderChangedError
from pgretrieval.index.coding import Coders
from pgretrieval.search.exhaustive import compare_all
from pgretrieval.search.explain import Explanation
from pgretrieval.search.loaded import IndexCache, LoadedIndex
from pgretrieval.search.options import QueryVectors, ScanRequest
from pgretrieval.search.plaid import PlaidScanner
from pgretrieval.search.scanner import PendingScan, Ranking, Scanner
from pgretrieval.search.xtr import XtrScanner
from pgretrieval.types import Hit

_QUERIES_AT_ONCE = 16  # searched in one transaction, their statements sent ahead


class SearchPipeline:
    """Searches one collection; threads may share it.

    What chooses candidates is computed on the processor, exact scores on the device of the coders.
    """

    def __init__(self, database: Database, collection: CollectionRow, coders: Coders) -> None:
        self._database = database
        self._collection_id = collection.collection_id
        self._identity = collection.identity
        self._name = collection.name
        self._indexes = IndexCache(collection.collection_id, coders)
        self._scanner: Callable[[LoadedIndex, ScanRequest], Scanner] = XtrScanner if coders.scoring.by_tokens else PlaidScanner

    def search(self, queries: QueryVectors, request: ScanRequest, *, counting: bool = False) -> list[Explanation]:
        """Return the hits of each query, best first, with what each stage did; what queries share is told of the first.

        The vectors must have been checked. With `counting` the postings that the first query read are counted. Before the first
        build all passages are compared. Raises ConfigError where proxies are asked for and there are none; EncoderChangedError, or
        DimensionMismatchError for given vectors, where the query was made for another encoder than the collection has.
        """
        found: list[Explanation] = []
        for start in range(0, len(queries.vectors), _QUERIES_AT_ONCE):
            some = QueryVectors(queries.vectors[start : start + _QUERIES_AT_ONCE], queries.encoding)
            try:
                found.extend(self._search(some, request, counting=counting))
            except ConfigError:  # perhaps a function that found no such collection, before this was noticed
                with self._database.connection(f"looking up collection {self._name!r}") as connection:
                    catalog.require(connection, self._collection_id, self._identity)
                raise
        return found

    def _search(self, queries: QueryVectors, request: ScanRequest, *, counting: bool) -> list[Explanation]:
        """Send the statements of all queries before the first answer is read: the server works ahead while answers are scored."""
        shared = Explanation()
        with self._database.reading(f"searching collection {self._name!r}", pipelined=True) as connection:
            scans = self._send(connection, queries, request, shared)
            if scans is None:
                rankings, reports = self._compare_all(connection, queries, request)
            else:
                for scan in scans:
                    scan.narrow()
                rankings = [scan.rank() for scan in scans]
                reports = [scan.report for scan in scans]
            with shared.stage("texts"):
                shared.round_trips += 1
                shown = passages.texts(connection, self._collection_id, [key for each in rankings for key in each.passage_ids])
            if counting and scans:
                scans[0].count_postings()
        reports[0] = shared.followed_by(reports[0])
        for report, ranking in zip(reports, rankings, strict=True):
            report.hits = [
                Hit(place, shown[passage_id][0], score, *shown[passage_id][1:])
                for place, (passage_id, score) in enumerate(zip(ranking.passage_ids, ranking.scores, strict=True), start=1)
            ]
        return reports

    def _send(
        self, connection: Connection, queries: QueryVectors, request: ScanRequest, shared: Explanation
    ) -> list[PendingScan] | None:
        """Ask for every query's candidates, as if the index in memory were the active one; if not, load that and ask again.

        Returns None where there is no index yet.
        """
        index = self._indexes.current
        while True:
            scanner = self._scanner(index, request) if index and index.fits(queries) else None
            begun = read.begin(connection, self._collection_id, scanner.vector_index_depth if scanner else 1)
            scans = [scanner.send(connection, query) for query in queries.vectors] if scanner else []
            with shared.stage("candidates"):
                shared.round_trips += 1
                rows = begun.rows()
            active, codebook, collection, restricted = rows[0][:4] if rows else (None, None, None, False)
            if collection != self._identity:
                raise catalog.dropped(self._collection_id)
            if index and (codebook, restricted) == (index.identity, index.restricted):
                if scanner is None:
                    self._refuse(queries, index.codebook.dim)
                return scans
            if active is None:
                return None
            with shared.stage("load"):
                index = self._indexes.load(connection, active, codebook)

    def _refuse(self, queries: QueryVectors, dim: int) -> NoReturn:
        """Raise the error of queries that were made for another encoder than the index."""
        if queries.encoding is not None:
            raise EncoderChangedError(self._name)
        given = next(query.shape[1] for query in queries.vectors if query.shape[1] != dim)
        msg = (
            f"the vectors of the query have {given} dimensions, collection {self._name!r} has {dim} since its encoder was changed; "
            "encode queries with the new one"
        )
        raise DimensionMismatchError(msg)

    def _compare_all(
        self, connection: Connection, queries: QueryVectors, request: ScanRequest
    ) -> tuple[list[Ranking], list[Explanation]]:
        """Compare all passages, by their vectors as they were added: what a search does before the first build."""
        state = catalog.state(connection, self._collection_id)  # raises where the collection was dropped
        if queries.encoding not in (None, state.encoding):
            raise EncoderChangedError(self._name)
        rankings, report = compare_all(connection, self._collection_id, queries.vectors, request)
        return rankings, [report, *(Explanation() for _ in rankings[1:])]
