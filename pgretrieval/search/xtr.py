"""Scanner of collections scored by retrieved tokens (XTR): read tokens of probed centroids, score passages by the best."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pgretrieval import validate
from pgretrieval.db import candidates as read
from pgretrieval.db.candidates import CodedPassages, ListedTokens, Pending, PendingSizes, PendingTokens
from pgretrieval.db.connection import Connection
from pgretrieval.index.vectors import unit_rows
from pgretrieval.numerics.centroid_scores import CentroidScores
from pgretrieval.search.imputation import TokenScores, best_retrieved, score_retrieved, warp_scores
from pgretrieval.search.loaded import LoadedIndex
from pgretrieval.search.matches import NOWHERE, BestTokens, located, places_of
from pgretrieval.search.maxsim import best_first, token_similarity
from pgretrieval.search.options import DEFAULT_K_TOKENS, ScanOptions, ScanRequest
from pgretrieval.search.probe import best_centroids, centroids_with_tokens
from pgretrieval.search.scanner import BaseScan
from pgretrieval.search.watched import Watched
from pgretrieval.types import Float32Array, Imputation, Int32Array, Int64Array, Rerank, Restriction, TokenMatrix

_ALL_TOKENS = 2**31 - 1
_SUFFICIENT = 0.75  # share of the tokens to read; fewer, because of deleted tokens, are not worth another round trip
_READ_PER_RETRIEVED = 4
_RERANKED = 128
_RERANKED_PER_HIT = 5


@dataclass(frozen=True, slots=True)
class XtrSettings:
    """Depths of a search by retrieved tokens.

    `probes`: centroids probed per query token; None takes as many as contain `seen` tokens. `k_tokens`: tokens that each query
    token retrieves from the probed centroids. `rerank_depth`: number of best passages that are scored again if `rerank` is
    "maxsim", or enter a hybrid search.
    """

    probes: int | None
    k_tokens: int
    imputation: Imputation
    rerank: Rerank
    rerank_depth: int

    @property
    def seen(self) -> int:
        """Tokens to read for each query token; more than `k_tokens`, since the best are not all in the nearest centroids
        (docs/design/tokens.md).
        """
        return _READ_PER_RETRIEVED * self.k_tokens if self.probes is None else 0


def choose_settings(k: int, options: ScanOptions) -> XtrSettings:
    """Return the options, with defaults for `k` hits where they are None; docs/design/tokens.md has the measurements."""
    return XtrSettings(
        options.probes,
        options.k_tokens or DEFAULT_K_TOKENS,
        "kth" if options.imputation is None else options.imputation,
        options.rerank,
        options.rerank_depth or min(max(_RERANKED, _RERANKED_PER_HIT * k), validate.INT4),
    )


class XtrScanner:
    """Scanner by retrieved tokens for one request."""

    vector_index_depth = 1

    def __init__(self, index: LoadedIndex, request: ScanRequest) -> None:
        self._index = index
        self._request = request
        self._settings = choose_settings(request.k, request.options)

    def send(self, connection: Connection, query: Float32Array, text: str | None) -> XtrScan:
        """Request the tokens of the centroids that (query tokens, dim) probes."""
        return XtrScan(connection, self._index, self._settings, self._request, query)


class XtrScan(BaseScan):
    """Pending scan of one query. The constructor requests its tokens."""

    def __init__(
        self, connection: Connection, index: LoadedIndex, settings: XtrSettings, request: ScanRequest, query: Float32Array
    ) -> None:
        super().__init__(connection, index, request, query)
        self._settings = settings
        self._probed: Int32Array  # (query tokens, largest width) centroids
        self._widths: Int64Array  # (query tokens,) number of centroids that each probes
        self._pending: PendingTokens
        self._version: Pending | None = None
        self._sizes: PendingSizes | None = None
        self._warp_scores: Float32Array | None = None
        self._retrieved: tuple[ListedTokens, Float32Array, TokenScores]
        self._request_hybrid(settings.rerank_depth)
        with self.report.stage("probe"):
            self._scores = CentroidScores(query, index.codebook.centroids)
            probed = self._probe()
        self._request_tokens(probed)
        if settings.imputation == "warp" and index.sizes:
            self._version = read.version_of_postings(self._tables)
        elif settings.imputation == "warp":
            self._sizes = read.centroid_sizes(self._tables, index.codebook.codec.width)

    def generate(self) -> None:
        """Do nothing; the retrieved tokens are the candidates."""

    def narrow(self) -> None:
        """Read the tokens and score passages; request the codes of the best if they are reranked."""
        found = self._passages()
        if watched := self._request.watched:
            watched.after(
                found.passage_ids,
                f"No query token retrieved a token of it. Each retrieves the {self._settings.k_tokens:,} most similar tokens of "
                f"the {self.report.probes:,} centroids that the query probes. Raise k_tokens or probes to retrieve more.",
            )
        hybrid, reranks = self._hybrid, self._settings.rerank != "none"
        if not reranks and hybrid is None:
            self._scored = found.passage_ids, found.scores
            return
        passage_ids = found.passage_ids[best_first(found.scores, found.passage_ids, self._settings.rerank_depth)]
        if watched:
            watched.after(
                passage_ids,
                f"By its retrieved tokens it is not among the {len(passage_ids):,} passages that are reranked. Raise "
                "rerank_depth to rerank more.",
            )
        with self.report.stage("codes"):
            if hybrid:
                passage_ids = hybrid.join(passage_ids)
            if reranks:
                self._request_codes(passage_ids)
            else:
                self._scored = passage_ids, found.of(passage_ids)

    def _passages(self) -> TokenScores:
        """Return the passages of retrieved tokens.

        A query token that reads too few tokens probes more centroids, in the end all. If fewer than k passages are found and more
        match, probes and retrieved tokens are doubled until all are read.
        """
        matches: int | None = None
        while True:
            found = self._score_retrieved(self._read())
            if len(found.passage_ids) >= self._request.k or self._has_all():
                return found
            if matches is None:
                self.report.round_trips += 1
                matches = read.count_matches(self._tables, self._request.k, self._restriction or Restriction())
            if len(found.passage_ids) >= matches:
                return found
            self._widen()

    def _probe(self) -> Int32Array:
        """Return the best centroids of each query token; set `_widths` to the number that each probes first."""
        sizes, settings = self._index.sizes, self._settings
        if settings.probes is None and sizes is not None and self._restriction is None:
            probed, self._widths = centroids_with_tokens(self._scores, sizes.latest, settings.seen)
            return probed
        centroids, tokens = self._scores.centroids, self._index.statistics.tokens
        each = math.ceil(settings.seen * centroids / max(tokens, 1)) if settings.probes is None else settings.probes
        width = min(max(each, 1), centroids)
        self._widths = np.full(len(self._query), width, dtype=np.int64)
        return best_centroids(self._scores, width)

    def _request_tokens(self, probed: Int32Array) -> None:
        with self.report.stage("probe"):
            self._probed = probed
            distinct = np.unique(self._probed[self._probe_mask()])
        self.report.probes = len(distinct)
        with self.report.stage("candidates"):
            width = self._index.codebook.codec.width
            self._pending = read.tokens_of_centroids(self._tables, distinct, width, self._restriction)

    def _probe_mask(self) -> NDArray[np.bool_]:
        """Return the mask (query tokens, largest width) of the centroids in `_probed` that each query token probes."""
        looked_up: NDArray[np.bool_] = np.arange(self._probed.shape[1]) < self._widths[:, None]
        return looked_up

    def _has_all(self) -> bool:
        return bool((self._widths == self._scores.centroids).all()) and self._settings.k_tokens >= _ALL_TOKENS

    def _widen(self) -> None:
        centroids = self._scores.centroids
        widths = np.minimum(2 * self._widths, centroids)
        k_tokens = _ALL_TOKENS if (widths == centroids).all() else min(2 * self._settings.k_tokens, _ALL_TOKENS)
        self._settings = replace(self._settings, k_tokens=k_tokens)
        self._request_wider(widths)

    def _request_wider(self, widths: Int64Array) -> None:
        self._widths = widths
        self.report.round_trips += 1
        with self.report.stage("probe"):
            probed = best_centroids(self._scores, int(widths.max()))
        self._request_tokens(probed)

    def _read(self) -> ListedTokens:
        """Read tokens until the probed centroids contain enough for each query token; only matching passages count."""
        report, centroids = self.report, self._scores.centroids
        while True:
            with report.stage("candidates"):
                tokens = self._pending.read()
                if self._warp_scores is None:
                    self._warp_scores = self._warp()
            report.bytes_moved += tokens.bytes_moved
            report.postings_read = report.tokens_decoded = len(tokens.passage_ids)
            counts = np.bincount(tokens.centroid_ids, minlength=centroids)
            seen = (counts[self._probed] * self._probe_mask()).sum(axis=1)
            short = (seen < _SUFFICIENT * self._settings.seen) & (self._widths < centroids)
            if not short.any():
                return tokens
            likely = np.ceil(self._widths * (self._settings.seen / np.maximum(seen, 1)))
            wider = np.minimum(np.maximum(likely, 2 * self._widths), centroids).astype(np.int64)
            self._request_wider(np.where(short, wider, self._widths))

    def _score_retrieved(self, tokens: ListedTokens) -> TokenScores:
        report = self.report
        with report.stage("tokens"):
            similarity = token_similarity(self._query, self._index.codebook, tokens)
            found = score_retrieved(
                similarity,
                len(self._query),
                self._settings.k_tokens,
                tokens.passage_ids,
                self._settings.imputation,
                self._warp_scores,
            )
        if self._request.matches:
            self._retrieved = tokens, similarity, found
        report.tokens_retrieved = found.retrieved
        report.candidates = len(found.passage_ids)
        return found

    def _look_at(self, watched: Watched) -> None:
        if self._settings.rerank != "none":
            super()._look_at(watched)
            return
        watched.scored(self._best_tokens(watched.ids), float(self._divisor))
        if (stored := self._stored(watched.ids)) is not None:
            watched.similarity = stored.vectors @ self._query.T

    def _best_tokens(self, passage_ids: Int32Array) -> BestTokens:
        """Return the best retrieved tokens of hits; their positions, which postings do not tell, by what is stored by passage."""
        if self._settings.rerank != "none":
            return super()._best_tokens(passage_ids)
        tokens, similarity, found = self._retrieved
        codebook, columns = self._index.codebook, np.arange(len(self._query))
        if len(tokens.passage_ids):
            best = best_retrieved(similarity, len(columns), self._settings.k_tokens, tokens.passage_ids, passage_ids)
        else:
            best = np.full((len(passage_ids), len(columns)), -1, dtype=np.int64)
        imputed = best < 0
        similarities = np.repeat(found.missed[None], len(best), axis=0)
        similarities[~imputed] = similarity[best, columns][~imputed] if len(similarity) else 0
        vectors = np.zeros((*best.shape, codebook.dim), dtype=np.float32)
        vectors[~imputed] = self._decoded(tokens.some(best[~imputed]))
        unplaced = np.full(best.shape, NOWHERE, dtype=np.int64)
        listed = BestTokens(similarities, unplaced, imputed, np.zeros(len(best), dtype=np.int64), vectors)
        stored = self._stored(passage_ids)
        return listed if stored is None else located(listed, stored)

    def _decoded(self, coded: ListedTokens | CodedPassages) -> Float32Array:
        vectors = self._index.codebook.decode(coded.centroid_ids, coded.residuals)
        return unit_rows(vectors) if self._index.codebook.unit else vectors

    def _stored(self, passage_ids: Int32Array) -> TokenMatrix | None:
        """Return the vectors of passages in the order of their texts, kept or decoded, if the collection stores either."""
        if not (self._index.keeps_vectors or self._index.codes_by_passage):
            return None
        self.report.round_trips += 1
        if self._index.keeps_vectors:
            kept = read.vectors_of(self._tables, passage_ids).read()
            return kept.tokens.some(places_of(passage_ids, kept.passage_ids).tolist())
        codes = read.codes_of(self._tables, passage_ids, self._scores.centroids).read()
        some = codes.some(places_of(passage_ids, codes.passage_ids))
        return TokenMatrix(self._decoded(some), some.offsets)

    def _warp(self) -> Float32Array | None:
        """Return the imputed scores (query tokens,) if WARP's were asked for."""
        if self._version and self._index.sizes:
            sizes, round_trips = self._index.sizes.in_snapshot(self._tables, self._version)
            self.report.round_trips += round_trips
        elif self._sizes:
            sizes = self._sizes.read(self._scores.centroids)
        else:
            return None
        return warp_scores(self._scores, sizes)
