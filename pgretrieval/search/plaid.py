"""Scanner of collections scored by all tokens (PLAID): postings or proxies, centroid interaction, exact MaxSim."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pgretrieval import validate
from pgretrieval.db import candidates as read
from pgretrieval.db.candidates import ListedPassages, PendingCentroids, PendingPostings
from pgretrieval.db.connection import Connection
from pgretrieval.errors import ConfigError
from pgretrieval.numerics.centroid_scores import CentroidScores, PassageCentroids
from pgretrieval.search.interaction import best_by_interaction, best_listed, near_the_best
from pgretrieval.search.loaded import CollectionStatistics, LoadedIndex
from pgretrieval.search.options import ScanOptions, ScanRequest
from pgretrieval.search.probe import select_probes
from pgretrieval.search.scanner import BaseScan, PendingScan
from pgretrieval.types import Float32Array, Int32Array, Restriction, SearchGenerator

_NO_PASSAGES: Int32Array = np.empty(0, dtype=np.int32)
_MANY_HITS = 50
_PROBES_FACTOR_POOLED = 4  # factor for pooled passages: with few vectors, posting lists are short and hardly overlap
_PROBES_FACTOR_POOLED_FOR_MANY = 8
_CANDIDATES_AT_MOST = 4096
_PROXY_CANDIDATES_BY_SIZE = ((10_000, 512),)
_PROXY_CANDIDATES_BEYOND = 1000
_PRUNING = 192
_PRUNING_AT_MOST = 1000
_DECODED_TOKENS = 16_000
_PRUNING_PER_HIT = 5
_PRUNED_AT_LEAST = 48
_PRUNED_AT_LEAST_PER_HIT = 3
_PRUNED_AT_MOST = 288
_PRUNED_AT_MOST_PER_HIT = 10
_PRUNED_WITHIN = 0.3  # times the root of the number of query tokens, for vectors of unit length
_SMALL = 40_000


@dataclass(frozen=True, slots=True)
class _Depths:
    """Default probes and candidates, by passages of the collection; candidates also have `tokens` tokens together, or more."""

    probes_by_size: tuple[tuple[int, int], ...]
    probes_beyond: int  # fewer: posting lists are long in large collections
    probes_for_many: int
    candidates_by_size: tuple[tuple[int, int], ...]
    candidates_beyond: int
    candidates_per_hit: int
    tokens: int


_IN_CLIENT = _Depths(((40_000, 24),), 16, 24, ((40_000, 512),), 768, 22, 60_000)
_IN_SQL = _Depths(((40_000, 8),), 4, 8, ((10_000, 512), (40_000, 768)), 1024, 24, 100_000)
"""Where the server chooses candidates, more slowly, from fewer probes; for pooled passages too, whose posting lists are short."""


@dataclass(frozen=True, slots=True)
class PlaidSettings:
    """Depths of a search.

    `generator`: "proxy", "postings", or one of papers.py. `probes`: centroids probed per query token, for postings. `candidates`:
    passages from the generator. `pruning`: passages that remain for decoding after centroid interaction (PLAID's middle stage); if
    `pruning_at_least` is not None, at least so many, and up to `pruning` that are about as good as the k-th.
    `centroid_threshold`: only for generator "centroid_pruning".
    """

    generator: SearchGenerator
    probes: int
    candidates: int
    pruning: int
    centroid_threshold: float = 0.0
    pruning_at_least: int | None = None


class PlaidScanner:
    """Scanner by PLAID for one request. Raises ConfigError for generator "proxy" without proxies."""

    def __init__(self, index: LoadedIndex, request: ScanRequest) -> None:
        self._index = index
        self._request = request
        self._settings = self._choose_settings(in_sql=request.restriction is not None or index.restricted)
        self.vector_index_depth = self._settings.candidates

    def send(self, connection: Connection, query: Float32Array, text: str | None) -> PendingScan:
        """Request the candidates of (query tokens, dim)."""
        return PlaidScan(connection, self._index, self._settings, self._request, query)

    def _choose_settings(self, *, in_sql: bool) -> PlaidSettings:
        return choose_settings(self._request.k, self._index.statistics, self._request.options, in_sql=in_sql)


class PlaidScan(BaseScan):
    """Pending scan of one query. The constructor requests candidates."""

    def __init__(
        self, connection: Connection, index: LoadedIndex, settings: PlaidSettings, request: ScanRequest, query: Float32Array
    ) -> None:
        super().__init__(connection, index, request, query)
        self._settings = settings
        self._shape = len(index.codebook.centroids), index.statistics.vectors_per_passage
        self._postings: PendingPostings | None = None
        self._known, _ = index.centroid_ids.find(_NO_PASSAGES)
        self._coded: PendingCentroids | None = None
        proxy_model = index.proxy_model if settings.generator == "proxy" and self._restriction is None else None
        with self.report.stage("probe"):
            self._scores = CentroidScores(query, index.codebook.centroids)
            self._probes = select_probes(self._scores, settings.probes)
        with self.report.stage("candidates"):
            if proxy_model is not None:
                self._coded = read.by_proxy(self._tables, proxy_model.query(query), settings.candidates, *self._shape)
            elif self._restriction is not None:
                self._coded = self._request_among(self._restriction)
            else:
                self._postings = read.listed_by(self._tables, self._probes)
        self.report.probes = 0 if proxy_model else len(self._probes.centroid_ids)

    def generate(self) -> None:
        """Read the postings, and request the centroids of the candidates that no search has read before."""
        with self.report.stage("candidates"):
            listed = self._read_postings()
            if listed is None:
                return
            if watched := self._request.watched:
                watched.after(listed.passage_ids, self._unlisted())
            self._known, unknown = self._index.centroid_ids.find(self._candidates_of(listed))
            if len(unknown):
                self.report.round_trips += 1
                self._coded = read.centroids_of(self._tables, unknown, *self._shape)

    def _read_postings(self) -> ListedPassages | None:
        """Return the postings if the candidates come from these.

        Then request words and dense vectors of a hybrid search: the server works on them while candidates are chosen.
        """
        listed = self._postings.read() if self._postings else None
        self._request_hybrid(self._settings.candidates)
        if listed:
            self.report.postings_read = len(listed.passage_ids)
            self.report.bytes_moved += listed.bytes_moved
        return listed

    def _candidates_of(self, listed: ListedPassages) -> Int32Array:
        """Return the candidates among the passages that the probed centroids list."""
        return best_listed(listed, self._probes, self._settings.candidates)

    def narrow(self) -> None:
        """Read the centroids of the candidates, and request the codes of the best by centroid interaction.

        If the candidates are fewer than k, other passages follow.
        """
        with self.report.stage("candidates"):
            found = self._candidates()
            if len(found) < self._request.k and self._restriction is None:
                self.report.round_trips += 1
                found = self._read(self._request_among(Restriction()))
        self.report.candidates = len(found)
        passage_ids = self._pruned(found).passage_ids
        if watched := self._request.watched:
            watched.after(found.passage_ids, self._outweighed())
            watched.after(
                passage_ids,
                f"Centroid interaction, which compares centroids instead of tokens, drops it: of {len(found):,} candidates "
                f"{len(passage_ids):,} remain. Raise pruning to keep more.",
            )
        with self.report.stage("codes"):
            if self._hybrid:
                passage_ids = self._hybrid.join(passage_ids)
            self._request_codes(passage_ids)

    def _unlisted(self) -> str:
        return f"None of its tokens is in the {self.report.probes:,} centroids that the query probes. Raise probes to reach more."

    def _outweighed(self) -> str:
        candidates = self._settings.candidates
        if self._settings.generator == "proxy" and self._restriction is None:
            return f"{candidates:,} other passages have a proxy nearer to the query's. Raise candidates to reach more."
        return (
            f"{candidates:,} other passages have more tokens in the centroids that the query probes, or nearer ones. Raise "
            "candidates to reach more."
        )

    def _pruned(self, found: PassageCentroids) -> PassageCentroids:
        """Return the candidates that remain after centroid interaction."""
        limit, at_least = self._settings.pruning, self._settings.pruning_at_least
        if len(found) <= (limit if at_least is None else at_least):
            return found
        with self.report.stage("interaction"):
            if at_least is None:
                return best_by_interaction(self._scores, found, limit)
            within = _PRUNED_WITHIN * float(np.linalg.norm(self._query)) * self._index.codebook.mean_length
            return near_the_best(self._scores, found, self._request.k, within, at_least, limit)

    def _candidates(self) -> PassageCentroids:
        """Return the candidates with their centroids: those that earlier searches read, then those that this one requested."""
        return self._known.followed_by(self._read(self._coded)) if self._coded else self._known

    def _read(self, requested: PendingCentroids) -> PassageCentroids:
        """Read passages with their centroids, which later searches then know."""
        found = requested.read()
        self.report.bytes_moved += found.bytes_moved
        return self._index.centroid_ids.add(found)

    def _request_among(self, restriction: Restriction) -> PendingCentroids:
        return read.among(self._tables, self._probes, restriction, self._settings.candidates, *self._shape)


def choose_settings(k: int, statistics: CollectionStatistics, options: ScanOptions, *, in_sql: bool = False) -> PlaidSettings:
    """Return the options, with defaults for `k` hits where they are None; docs/design/candidates.md has the measurements.

    `in_sql` tells that the server adds the postings up, as it does among the passages of a filter.
    The options are already checked. Raises ConfigError for generator "proxy" without proxies.
    """
    generator = options.generator or statistics.generator
    if generator == "proxy" and not statistics.has_proxies:
        msg = 'the collection has no proxies; create it with generator="proxy", or search it with generator="postings"'
        raise ConfigError(msg)
    if options.centroid_threshold is not None:
        msg = f'centroid_threshold is {options.centroid_threshold}, which only generator "centroid_pruning" uses; leave it out'
        raise ConfigError(msg)
    if generator != "proxy":
        generator = "postings"  # better at every measured size
    by_client = generator == "postings" and not in_sql and statistics.vectors_per_passage is None
    depths = _IN_CLIENT if by_client else _IN_SQL
    probes, candidates, pruning = options.probes, options.candidates, options.pruning
    if probes is None:
        probes = _default_probes(k, statistics, depths)
    at_least = None
    if pruning is None:
        at_least, pruning = _default_pruning(k, statistics)
        pruning = min(pruning, candidates or validate.INT4)
    if candidates is None:
        count = _proxy_candidates(statistics) if generator == "proxy" else _posting_candidates(statistics, depths)
        candidates = min(max(count, depths.candidates_per_hit * k, pruning), validate.INT4)
    return PlaidSettings(generator, probes, candidates, min(pruning, candidates), pruning_at_least=at_least)


def _default_probes(k: int, statistics: CollectionStatistics, depths: _Depths) -> int:
    many = k >= _MANY_HITS
    usual = depths.probes_for_many if many else _by_size(depths.probes_by_size, statistics.passages, depths.probes_beyond)
    if statistics.vectors_per_passage is None:
        return usual
    return usual * (_PROBES_FACTOR_POOLED_FOR_MANY if many else _PROBES_FACTOR_POOLED)


def _posting_candidates(statistics: CollectionStatistics, depths: _Depths) -> int:
    """Return a number that grows with the collection, and for short passages, whose interaction is cheap."""
    affordable = depths.tokens * statistics.passages // max(statistics.tokens, 1)
    usual = _by_size(depths.candidates_by_size, statistics.passages, depths.candidates_beyond)
    return max(usual, min(affordable, _CANDIDATES_AT_MOST))


def _default_pruning(k: int, statistics: CollectionStatistics) -> tuple[int | None, int]:
    """Return at least and at most how many passages remain for decoding; None and the number in large collections.

    They grow for short passages: their decoding is cheap and their centroids are less informative.
    """
    affordable = min(_DECODED_TOKENS * statistics.passages // max(statistics.tokens, 1), _PRUNING_AT_MOST)
    if statistics.passages >= _SMALL:
        return None, max(_PRUNING, affordable, _PRUNING_PER_HIT * k)
    return (
        max(_PRUNED_AT_LEAST, affordable, _PRUNED_AT_LEAST_PER_HIT * k),
        max(_PRUNED_AT_MOST, affordable, _PRUNED_AT_MOST_PER_HIT * k),
    )


def _proxy_candidates(statistics: CollectionStatistics) -> int:
    """Return a number within one scan of the vector index."""
    return _by_size(_PROXY_CANDIDATES_BY_SIZE, statistics.passages, _PROXY_CANDIDATES_BEYOND)


def _by_size(steps: tuple[tuple[int, int], ...], passages: int, beyond: int) -> int:
    return next((value for limit, value in steps if passages < limit), beyond)
