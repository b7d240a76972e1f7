"""Pipeline of a search: its stages in order, on one snapshot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NoReturn

from pgretrieval import validate
from pgretrieval.db import candidates as read
from pgretrieval.db.connection import Connection
from pgretrieval.db.handles import CollectionTables
from pgretrieval.db.tables import collections, passages
from pgretrieval.errors import ConfigError, DimensionMismatchError, EncoderChangedError
from pgretrieval.index.opened import OpenCollection
from pgretrieval.index.vectors import token_array, token_matrix
from pgretrieval.presets import row_for
from pgretrieval.search.dense import current_row, read_dense, warn_if_truncated
from pgretrieval.search.exhaustive import compare_all, compare_listed, exact_rankings
from pgretrieval.search.explain import Explanation
from pgretrieval.search.fusion import power_for
from pgretrieval.search.loaded import IndexCache, LoadedIndex
from pgretrieval.search.matches import described, located
from pgretrieval.search.options import QueryVectors, ScanRequest, SearchRequest, as_list, texts_for
from pgretrieval.search.page_matches import tokens_of
from pgretrieval.search.papers import PaperScanner
from pgretrieval.search.scanner import PendingScan, Ranking, Scanner
from pgretrieval.search.words import text_search
from pgretrieval.search.xtr import XtrScanner
from pgretrieval.types import Float32Array, Fusion, Hit, HybridQuery

_QUERIES_AT_ONCE = 16  # queries of one transaction; their statements are sent together


class SearchPipeline:
    """Search of one collection. Threads may share it.

    Candidates are chosen on the processor; exact scores are computed on the device of the coders.
    """

    def __init__(self, opened: OpenCollection) -> None:
        self._opened = opened
        self._database = opened.database
        self._collection_id = opened.row.collection_id
        self._identity = opened.row.identity
        self._name = opened.name
        self._preset = opened.row.search_options
        self._indexes = IndexCache(opened.coders)
        self._scanner: Callable[[LoadedIndex, ScanRequest], Scanner] = (
            XtrScanner if opened.coders.scoring.by_tokens else PaperScanner
        )

    def search(self, texts: Sequence[str] | None, vectors: Sequence[Any] | None, request: ScanRequest) -> list[Explanation]:
        """Return the hits of each query, best first, with a report of each stage; shared work is reported for the first query.

        Before the first build, all passages are compared. Texts are encoded again if a rebuild changed the encoder. Raises
        ConfigError for generator "proxy" without proxies, and DimensionMismatchError or EncoderChangedError for given vectors of
        another encoder.
        """

        try:
            return self._encode_and_search(texts, vectors, request)
        except EncoderChangedError:
            self._opened.forget_old_encoder()
        return self._encode_and_search(texts, vectors, request)

    def hybrid_search(self, query: str, vectors: Any, dense: Any, fusion: Fusion, request: ScanRequest) -> Explanation:
        """Return the best hits by late interaction, words and dense vectors, with a report of each stage.

        Kinds that the query lacks are left out.
        """

        def work() -> Explanation:
            report = Explanation()
            with report.stage("encode"):
                queries, row = encode_hybrid_query(self._opened, query, vectors, dense)
            held = self._opened.row
            hybrid = HybridQuery(query if held.language else None, row, fusion, power_for(held.encoder))
            return self.search_encoded(queries, replace(request, hybrid=hybrid), report)[0]

        return self._opened.retry(work)

    def starting_rankings(
        self, texts: Sequence[str], vectors: Sequence[Any] | None, request: SearchRequest
    ) -> Sequence[Explanation]:
        """Return the rankings that a cross-encoder starts with: empty, by words, or of the collection's own search."""
        scan = request.scan
        if scan.k == 0:
            return [Explanation() for _ in texts]
        if request.by_words:
            return [text_search(self._database, self._opened.row, text, scan.k, scan.restriction) for text in texts]
        return self.search(texts if vectors is None else None, vectors, scan)

    def exact_rankings(self, vectors: Sequence[Any], k: int, progress: Callable[[int], None] | None) -> list[list[str]]:
        """Return the ids of the k best passages of each query by exact MaxSim over unquantised vectors."""
        arrays = list(validate.listed("queries", vectors, "(tokens, dim) arrays, one for each query"))
        return exact_rankings(self._opened, checked_vectors(self._opened, arrays), k, progress)

    def _encode_and_search(
        self, texts: Sequence[str] | None, vectors: Sequence[Any] | None, request: ScanRequest
    ) -> list[Explanation]:
        report = Explanation()
        with report.stage("encode"):
            if request.options.generator == "text":
                words = texts_for("the search by words", texts, vectors)
                queries = replace(encode_queries(self._opened, words if vectors is None else None, vectors), texts=words)
            else:
                queries = encode_queries(self._opened, texts, vectors)
        return self.search_encoded(queries, request, report)

    def search_encoded(self, queries: QueryVectors, request: ScanRequest, report: Explanation | None = None) -> list[Explanation]:
        """Search in groups of queries; `report` covers the work before. Raises EncoderChangedError after a rebuild with another."""
        found: list[Explanation] = []
        for start in range(0, len(queries.vectors), _QUERIES_AT_ONCE):
            some = queries[start : start + _QUERIES_AT_ONCE]
            try:
                found.extend(self._search(some, request))
            except ConfigError:  # a SQL function may have noticed first that the collection was dropped
                with self._database.connection(f"looking up collection {self._name!r}") as connection:
                    collections.require(self._tables(connection), self._identity)
                raise
        return [(report or Explanation()).followed_by(found[0]), *found[1:]] if found else []

    def _search(self, queries: QueryVectors, request: ScanRequest) -> list[Explanation]:
        """Send the statements of all queries before the first result is read, so that the server works while results are scored."""
        shared = Explanation()
        with self._database.reading(f"searching collection {self._name!r}", pipelined=True) as connection:
            scans = self._request_candidates(connection, queries, request, shared)
            if scans is None:
                rankings, reports = self._compare_exhaustively(connection, queries, request)
            else:
                for scan in scans:
                    scan.generate()
                for scan in scans:
                    scan.narrow()
                for scan in scans:
                    scan.score()
                rankings = [scan.rank() for scan in scans]
                reports = [scan.report for scan in scans]
            with shared.stage("texts"):
                shared.round_trips += 1
                shown = passages.texts(self._tables(connection), [key for each in rankings for key in each.passage_ids])
        reports[0] = shared.followed_by(reports[0])
        for report, ranking in zip(reports, rankings, strict=True):
            report.hits = [
                Hit(place, shown[passage_id][0], score, *shown[passage_id][1:])
                for place, (passage_id, score) in enumerate(zip(ranking.passage_ids, ranking.scores, strict=True), start=1)
            ]
        if request.matches:
            with shared.stage("matches"):
                self._describe(queries, rankings, reports)
        return reports

    def _describe(self, queries: QueryVectors, rankings: Sequence[Ranking], reports: Sequence[Explanation]) -> None:
        """Add the matches to the hits, with texts and offsets of tokens where the encoder tells them."""
        if queries.encoding is None:
            self._opened.forget_old_encoder()
        encoder = self._opened.encoder_or_none()
        asked = encoder.query_tokens(queries.encoded) if encoder and queries.encoded is not None else None
        for number, (ranking, report) in enumerate(zip(rankings, reports, strict=True)):
            if ranking.matches is None:
                continue
            found, texts = ranking.matches, [hit.encoded_text for hit in report.hits]
            if found.best.vectors is not None and (own := self._opened.encoder_of_texts()):
                tokens = token_matrix(own.encode_document(texts), unit=self._opened.row.unit_vectors)
                found = replace(found, best=located(found.best, tokens))
            told = tokens_of(encoder, report.hits) if encoder else None
            report.hits = described(report.hits, found, asked[number] if asked else None, told)

    def _with_preset(self, request: ScanRequest, passages: int) -> ScanRequest:
        """Return the request completed by the search options of the collection's preset."""
        row = row_for(self._preset, request.k, passages)
        return replace(request, options=request.options.completed(row)) if row else request

    def _tables(self, connection: Connection) -> CollectionTables:
        return CollectionTables(connection, self._collection_id)

    def _request_candidates(
        self, connection: Connection, queries: QueryVectors, request: ScanRequest, shared: Explanation
    ) -> list[PendingScan] | None:
        """Request every query's candidates with the cached index; if it is not the active one, load that and request again.

        Returns None before the first build.
        """
        tables, index = self._tables(connection), self._indexes.current
        while True:
            scanner = None
            if index and index.fits(queries):
                scanner = self._scanner(index, self._with_preset(request, index.statistics.passages))
            first_statement = read.begin(tables, scanner.vector_index_depth if scanner else 1)
            texts: Sequence[str | None] = queries.texts or [None] * len(queries.vectors)
            scans = [scanner.send(connection, *query) for query in zip(queries.vectors, texts, strict=True)] if scanner else []
            with shared.stage("candidates"):
                shared.round_trips += 1
                rows = first_statement.rows()
            active, codebook, collection, restricted = rows[0][:4] if rows else (None, None, None, False)
            if collection != self._identity:
                raise collections.dropped(self._collection_id)
            if index and (codebook, restricted) == (index.identity, index.restricted):
                if scanner is None:
                    self._refuse(queries, index.codebook.dim)
                return scans
            if active is None:
                return None
            with shared.stage("load"):
                index = self._indexes.load(tables.index(active), codebook)

    def _refuse(self, queries: QueryVectors, dim: int) -> NoReturn:
        """Raise the error for queries of another encoder than the index."""
        if queries.encoding is not None:
            raise EncoderChangedError(self._name)
        given = next(query.shape[1] for query in queries.vectors if query.shape[1] != dim)
        msg = (
            f"the vectors of the query have {given} dimensions, and collection {self._name!r} has {dim} since its encoder changed; "
            "encode queries with the new encoder"
        )
        raise DimensionMismatchError(msg)

    def _compare_exhaustively(
        self, connection: Connection, queries: QueryVectors, request: ScanRequest
    ) -> tuple[list[Ranking], list[Explanation]]:
        """Compare all passages, by their vectors as they were added: what a search does before the first build."""
        state = collections.state(self._tables(connection))  # raises if the collection was dropped
        if queries.encoding not in (None, state.encoding):
            raise EncoderChangedError(self._name)
        tables = self._tables(connection)
        if queries.texts is not None:
            rankings, report = compare_listed(tables, queries, request)
        else:
            rankings, report = compare_all(tables, queries.vectors, self._with_preset(request, state.passages))
        return rankings, [report, *(Explanation() for _ in rankings[1:])]


def encode_queries(opened: OpenCollection, texts: Sequence[str] | None, vectors: Sequence[Any] | None) -> QueryVectors:
    """Encode texts, or check given vectors. Raises ConfigError unless exactly one is given, InputError, VectorError."""
    if (texts is None) == (vectors is None):
        msg = "give either query texts or vectors="
        raise ConfigError(msg)
    if vectors is not None:
        return QueryVectors(checked_vectors(opened, vectors), None)
    encoding, encoder = opened.encoder()
    checked = [validate.query(text) for text in texts or []]
    warn_if_truncated(checked, encoder)
    return QueryVectors(encoder.encode_query(checked), encoding, encoded=checked)


def encode_hybrid_query(opened: OpenCollection, query: str, vectors: Any, dense: Any) -> tuple[QueryVectors, Float32Array | None]:
    """Return the token vectors and the dense vector (dense dim,) or None of a query."""
    row = current_row(opened)
    given = None if dense is None else read_dense(opened, dense)
    if vectors is not None or given is not None or not row.keeps_dense or row.given_dense:
        return encode_queries(opened, [query] if vectors is None else None, as_list(vectors)), given
    encoding, encoder = opened.encoder()
    if not opened.makes_dense(encoder):
        return encode_queries(opened, [query], None), None
    warn_if_truncated([query], encoder)
    tokens, rows = encoder.encode_query_with_dense(query)
    return QueryVectors(tokens, encoding, encoded=[query]), rows[0]


def checked_vectors(opened: OpenCollection, vectors: Sequence[Any]) -> list[Float32Array]:
    """Check query vectors against the collection's dimension, which other processes may have changed."""
    whats = [f"query {number}" if len(vectors) > 1 else "the query" for number in range(1, len(vectors) + 1)]
    try:
        if opened.row.dim is not None:
            return [token_array(*given, opened.row.dim) for given in zip(vectors, whats, strict=True)]
    except DimensionMismatchError:
        pass
    dim = opened.refresh().dim
    return [token_array(*given, dim) for given in zip(vectors, whats, strict=True)]
