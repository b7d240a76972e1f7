"""Candidate generators as the papers have them: ColBERTv2's lower bound, PLAID's centroid pruning, and words.

A restricted search by the first two takes its candidates from postings.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pgretrieval import validate
from pgretrieval.db import candidates as read
from pgretrieval.db.candidates import CodedPassages, ListedPassages, PendingCodes
from pgretrieval.db.connection import Connection
from pgretrieval.errors import ConfigError
from pgretrieval.numerics.centroid_scores import PassageCentroids
from pgretrieval.presets import row_for, rows_of_generator
from pgretrieval.search.interaction import best_by_interaction, distinct_ids
from pgretrieval.search.loaded import LoadedIndex
from pgretrieval.search.maxsim import best_first, decoded_maxsim
from pgretrieval.search.options import ScanOptions, ScanRequest
from pgretrieval.search.plaid import PlaidScan, PlaidScanner, PlaidSettings, choose_settings
from pgretrieval.search.scanner import BaseScan, PendingScan
from pgretrieval.search.words import listed_by_words, unlisted_by_words
from pgretrieval.types import Float32Array, Int32Array, Restriction, SearchGenerator

_CANDIDATES_PER_PROBE = 2**12  # ColBERTv2, section 5
_PRUNED = 4  # PLAID decodes a quarter of its candidates


class PaperScanner(PlaidScanner):
    """Scanner by PLAID for one request, also with the generators of the papers."""

    def send(self, connection: Connection, query: Float32Array, text: str | None) -> PendingScan:
        """Request the candidates of (query tokens, dim), or by words of its text."""
        if text is not None:
            return WordScan(connection, self._index, self._settings.candidates, self._request, query, text)
        scan = _SCANS.get(self._settings.generator, PlaidScan)
        return scan(connection, self._index, self._settings, self._request, query)

    def _choose_settings(self, *, in_sql: bool) -> PlaidSettings:
        k, statistics, options = self._request.k, self._index.statistics, self._request.options
        if options.generator == "text":
            listed = listed_by_words(k, options)
            return PlaidSettings("text", 0, listed, listed)
        if options.generator not in _SCANS:
            return super()._choose_settings(in_sql=in_sql)
        if in_sql:
            options = replace(options, generator="postings", centroid_threshold=None)
            return choose_settings(k, statistics, options, in_sql=True)
        return paper_settings(k, statistics.passages, options)


def paper_settings(k: int, passages: int, options: ScanOptions) -> PlaidSettings:
    """Return the options for `k` hits of so many passages, with the values of the generator's preset where they are None.

    Raises ConfigError for an option that the generator does not use.
    """
    chosen = options.completed(row_for(rows_of_generator(options.generator), k, passages))
    probes = chosen.probes or 1
    candidates = chosen.candidates or min(max(_CANDIDATES_PER_PROBE * probes, k), validate.INT4)
    if options.generator == "centroid_pruning":
        pruning = min(chosen.pruning or max(candidates // _PRUNED, k), candidates)
        return PlaidSettings("centroid_pruning", probes, candidates, pruning, chosen.centroid_threshold or 0.0)
    for name, given in (("pruning", chosen.pruning), ("centroid_threshold", chosen.centroid_threshold)):
        if given is not None:
            msg = f'{name} is {given}, which generator "lower_bound" does not use; leave it out, and set probes and candidates'
            raise ConfigError(msg)
    return PlaidSettings("lower_bound", probes, candidates, candidates)


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
        if watched := self._request.watched:
            watched.after(passage_ids, unlisted_by_words(len(passage_ids)))
        with self.report.stage("codes"):
            self._request_codes(passage_ids)


class LowerBoundScan(PlaidScan):
    """Pending scan by ColBERTv2 (section 3.5): candidates by the lower bound of MaxSim that the tokens of probed centroids give.

    Every query token is compared with the tokens of all probed centroids, as in the paper, so none lacks a score. The codes of the
    listed passages are read once, for the bounds and the exact scores.
    """

    _listed: PendingCodes | None = None
    _kept: CodedPassages | None = None

    def generate(self) -> None:
        """Read the postings, and request the codes of all passages that they list."""
        with self.report.stage("candidates"):
            listed = self._read_postings()
            if listed is None:
                return
            self._listed = read.codes_of(self._tables, distinct_ids(listed.passage_ids)[0], self._shape[0])
        self.report.round_trips += 1

    def narrow(self) -> None:
        """Read the codes and keep the passages with the highest bounds. If they are fewer than k, other passages follow."""
        coded = self._listed.read() if self._listed else None
        if coded is None or len(coded.passage_ids) < self._request.k:
            super().narrow()
            return
        self.report.candidates = len(coded.passage_ids)
        self.report.bytes_moved += coded.bytes_moved
        with self.report.stage("bounds"):
            seen = coded.of_centroids(self._probes.centroid_ids)
            bounds = decoded_maxsim(self._query, self._index.codebook, seen)
            best = seen.passage_ids[best_first(bounds, seen.passage_ids, self._settings.candidates)]
        if watched := self._request.watched:
            watched.after(coded.passage_ids, self._unlisted())
            watched.after(best, f"Its lower bound is not among the {len(best):,} highest. Raise candidates to reach more.")
        self.report.tokens_decoded += seen.token_count
        with self.report.stage("codes"):
            if self._hybrid:
                self._request_codes(self._hybrid.join(best))
            else:
                self._kept = coded.some(np.flatnonzero(np.isin(coded.passage_ids, best)))

    def score(self) -> None:
        """Score the kept passages by their codes, which are here already unless others were joined."""
        if self._kept is None:
            super().score()
        else:
            self._score_coded(self._kept)


class CentroidPruningScan(PlaidScan):
    """Pending scan by PLAID (section 4): all passages that probed centroids list, then two stages of centroid interaction.

    The first leaves out centroids below the threshold and keeps `candidates`; the second keeps `pruning` of these.
    """

    def _candidates_of(self, listed: ListedPassages) -> Int32Array:
        return distinct_ids(listed.passage_ids)[0]

    def _pruned(self, found: PassageCentroids) -> PassageCentroids:
        with self.report.stage("interaction"):
            threshold, limit = self._settings.centroid_threshold, self._settings.candidates
            first = best_by_interaction(self._scores.pruned(threshold), found, limit)
            return best_by_interaction(self._scores, first, self._settings.pruning)


_SCANS: dict[SearchGenerator, type[PlaidScan]] = {"lower_bound": LowerBoundScan, "centroid_pruning": CentroidPruningScan}
