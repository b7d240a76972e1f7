"""Scanner of collections scored by all tokens (PLAID): postings or proxies, centroid interaction, exact MaxSim."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from pgretrieval import validate
from pgretrieval.db import candidates as read
from pgretrieval.db.candidates import (
    CodedPassages,
    PendingCentroids,
    PendingCodes,
    Probes,
    QueryProxy,
)
from pgretrieval.db.connection import Connection
from pgretrieval.errors import ConfigError
from pgretrieval.search.interaction import centroid_interaction
from pgretrieval.search.loaded import CollectionStatistics, LoadedIndex
from pgretrieval.search.maxsim import best_first
from pgretrieval.search.options import ScanOptions, ScanRequest
from pgretrieval.search.probe import centroid_scores, select_probes
from pgretrieval.search.scanner import BaseScan, Ranking
from pgretrieval.types import Float32Array, Generator, Restriction

_MANY_HITS = 50
_PROBES_BY_SIZE = ((40_000, 8),)
_PROBES_BEYOND = 4  # posting lists are long in large collections
_PROBES_FOR_MANY = 8
_PROBES_FACTOR_POOLED = 4  # factor for pooled passages: with few vectors, posting lists are short and hardly overlap
_PROBES_FACTOR_POOLED_FOR_MANY = 8
_CANDIDATES_BY_SIZE = ((10_000, 512), (40_000, 768))
_CANDIDATES_BEYOND = 1024
_CANDIDATES_AT_MOST = 4096
_INTERACTION_TOKENS = 100_000
_PROXY_CANDIDATES_BY_SIZE = ((10_000, 512),)
_PROXY_CANDIDATES_BEYOND = 1000
_PRUNING_BY_SIZE = ((40_000, 128),)
_PRUNING_BEYOND = 192
_PRUNING_AT_MOST = 1000
_DECODED_TOKENS = 16_000
_CANDIDATES_PER_HIT = 24
_PRUNING_PER_HIT = 5


@dataclass(frozen=True, slots=True)
class PlaidSettings:
    """Depths of a search.

    `generator`: "proxy" or "postings". `probes`: centroids probed per query token, for postings. `candidates`: passages from the
    generator. `pruning`: passages that remain for decoding after centroid interaction (PLAID's middle stage).
    """

    generator: Generator
    probes: int
    candidates: int
    pruning: int


class PlaidScanner:
    """Scanner by PLAID for one request. Raises ConfigError for generator "proxy" without proxies."""

    def __init__(self, index: LoadedIndex, request: ScanRequest) -> None:
        self._index = index
        self._request = request
        self._settings = choose_settings(request.k, index.statistics, request.options)
        self.vector_index_depth = self._settings.candidates

    def send(self, connection: Connection, query: Float32Array) -> PlaidScan:
        """Request the candidates of (query tokens, dim)."""
        return PlaidScan(connection, self._index, self._settings, self._request, query)


class PlaidScan(BaseScan):
    """Pending scan of one query. The constructor requests candidates, and computes centroid scores while the server works if it
    can.
    """

    def __init__(
        self, connection: Connection, index: LoadedIndex, settings: PlaidSettings, request: ScanRequest, query: Float32Array
    ) -> None:
        super().__init__(connection, index, request, query)
        self._settings = settings
        self._scores: Tensor | None = None  # (query tokens, centroids)
        self._probes: Probes | None = None
        self._found: CodedPassages
        with self.report.stage("probe"):
            source = self._query_proxy() or self._probe()
        with self.report.stage("candidates"):
            self._candidates = self._request_candidates(source)
            self._request_hybrid(settings.candidates)
        if settings.pruning < settings.candidates and self._scores is None:
            with self.report.stage("interaction"):
                self._scores = centroid_scores(query, index.quick_centroids)

    def narrow(self) -> None:
        """Read the candidates and request the codes of those that centroid interaction keeps."""
        self._found = self._read_candidates()
        passage_ids = self._found.passage_ids
        if len(passage_ids) > self._settings.pruning:
            with self.report.stage("interaction"):
                approximate = centroid_interaction(self._centroid_scores(), self._found)
                passage_ids = passage_ids[best_first(approximate, passage_ids, self._settings.pruning)]
        elif len(self._found.residuals) and self._hybrid is None:
            return  # the candidates include their codes
        with self.report.stage("codes"):
            if self._hybrid:
                passage_ids = self._hybrid.join(passage_ids)
            self._request_passages(passage_ids)

    def rank(self) -> Ranking:
        """Score the passages exactly, by their decoded or stored vectors."""
        found = self._read_requested(self._requested) if self._requested else self._found
        scores = self._exact_scores(found)
        with self.report.stage("maxsim"):
            return self._ranking(found.passage_ids, scores)

    def count_postings(self) -> None:
        """Count the postings of the probed centroids, unless the count could reveal hidden passages."""
        if self._probes and not self._index.restricted:
            self.report.postings_read = read.postings_read(self._tables, self._probes)

    def _query_proxy(self) -> QueryProxy | None:
        """Return the query's proxy if proxies generate candidates; restricted searches use postings."""
        model = self._index.proxy_model
        if self._settings.generator != "proxy" or model is None or self._restriction is not None:
            return None
        return QueryProxy(model.query(self._query))

    def _probe(self) -> Probes:
        self._probes = select_probes(self._centroid_scores(), self._settings.probes)
        self.report.probes = len(self._probes.centroid_ids)
        return self._probes

    def _centroid_scores(self) -> Tensor:
        if self._scores is None:
            self._scores = centroid_scores(self._query, self._index.quick_centroids)
        return self._scores

    def _request_candidates(self, source: Probes | QueryProxy) -> PendingCentroids | PendingCodes:
        settings = self._settings
        if self._restriction is not None and self._probes is not None:
            return self._request_among(self._probes, self._restriction)
        if settings.pruning < settings.candidates or self._index.keeps_vectors:
            each = self._index.statistics.vectors_per_passage
            return read.centroids_only(self._tables, source, settings.candidates, each)
        return read.with_residuals(self._tables, source, settings.candidates)

    def _request_among(self, probes: Probes, restriction: Restriction) -> PendingCentroids:
        each = self._index.statistics.vectors_per_passage
        return read.among(self._tables, probes, restriction, self._settings.candidates, each)

    def _read_candidates(self) -> CodedPassages:
        """Return the candidates. If fewer than k have a posting of a probed centroid, other passages follow."""
        with self.report.stage("candidates"):
            found = self._candidates.read()
            self.report.bytes_moved += found.bytes_moved
            if len(found.passage_ids) < self._request.k and self._restriction is None:
                self.report.round_trips += 1
                found = self._request_among(select_probes(self._centroid_scores(), self._settings.probes), Restriction()).read()
                self.report.bytes_moved += found.bytes_moved
        self.report.candidates = len(found.passage_ids)
        return found


def choose_settings(k: int, statistics: CollectionStatistics, options: ScanOptions) -> PlaidSettings:
    """Return the options, with defaults for `k` hits where they are None; docs/design/candidates.md has the measurements.

    The options are already checked. Raises ConfigError for generator "proxy" without proxies.
    """
    generator = options.generator or statistics.generator
    if generator == "proxy" and not statistics.has_proxies:
        msg = 'the collection has no proxies; create it with generator="proxy", or search it with generator="postings"'
        raise ConfigError(msg)
    if generator == "auto":
        generator = "postings"  # better at every measured size
    probes, candidates, pruning = options.probes, options.candidates, options.pruning
    if probes is None:
        probes = _default_probes(k, statistics)
    if pruning is None:
        pruning = min(max(_decoded_passages(statistics), _PRUNING_PER_HIT * k), candidates or validate.INT4)
    if candidates is None:
        count = _proxy_candidates(statistics) if generator == "proxy" else _posting_candidates(statistics)
        candidates = min(max(count, _CANDIDATES_PER_HIT * k, pruning), validate.INT4)
    return PlaidSettings(generator, probes, candidates, min(pruning, candidates))


def _default_probes(k: int, statistics: CollectionStatistics) -> int:
    many = k >= _MANY_HITS
    usual = _PROBES_FOR_MANY if many else _by_size(_PROBES_BY_SIZE, statistics.passages, _PROBES_BEYOND)
    if statistics.vectors_per_passage is None:
        return usual
    return usual * (_PROBES_FACTOR_POOLED_FOR_MANY if many else _PROBES_FACTOR_POOLED)


def _posting_candidates(statistics: CollectionStatistics) -> int:
    """Return a number that grows with the collection, and for short passages, whose interaction is cheap."""
    affordable = _INTERACTION_TOKENS * statistics.passages // max(statistics.tokens, 1)
    return max(_by_size(_CANDIDATES_BY_SIZE, statistics.passages, _CANDIDATES_BEYOND), min(affordable, _CANDIDATES_AT_MOST))


def _decoded_passages(statistics: CollectionStatistics) -> int:
    """Return a number that grows for short passages: their decoding is cheap and their centroids are less informative."""
    affordable = _DECODED_TOKENS * statistics.passages // max(statistics.tokens, 1)
    return max(_by_size(_PRUNING_BY_SIZE, statistics.passages, _PRUNING_BEYOND), min(affordable, _PRUNING_AT_MOST))


def _proxy_candidates(statistics: CollectionStatistics) -> int:
    """Return a number within one scan of the vector index."""
    return _by_size(_PROXY_CANDIDATES_BY_SIZE, statistics.passages, _PROXY_CANDIDATES_BEYOND)


def _by_size(steps: tuple[tuple[int, int], ...], passages: int, beyond: int) -> int:
    return next((value for limit, value in steps if passages < limit), beyond)
