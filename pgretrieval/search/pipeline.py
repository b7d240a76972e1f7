"""The searcher: the stages in order, on one snapshot."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pgretrieval.db import candidates as read
from pgretrieval.db import catalog, passages
from pgretrieval.db.candidates import CodedPassages, PendingCentroids, PendingCodes, Probes, QueryProxy
from pgretrieval.db.connection import Connection, Database
from pgretrieval.errors import IndexNotBuiltError
from pgretrieval.hardware import quick
from pgretrieval.index.coding import load_coder
from pgretrieval.proxy.model import ProxyModel
from pgretrieval.quantize.codebook import Codebook
from pgretrieval.search import rank
from pgretrieval.search.explain import Explanation
from pgretrieval.search.probe import centroid_scores, every_centroid, select_probes
from pgretrieval.search.settings import Knobs, Searched, SearchSettings, choose_settings
from pgretrieval.types import CodebookId, CollectionId, Float32Array, Hit, Int64Array

_QUERIES_AT_ONCE = 16  # searched in one transaction, their statements sent ahead


@dataclass(frozen=True, slots=True)
class LoadedIndex:
    """A codebook and its proxy model in memory; `quick_centroids` is (centroids, dim) for scores that only choose."""

    codebook_id: CodebookId
    codebook: Codebook
    quick_centroids: Tensor
    proxy_model: ProxyModel | None
    searched: Searched


@dataclass(slots=True)
class Running:
    """One query on its way: its vectors, its scores against centroids where they are needed, and the candidates asked for."""

    query: Float32Array
    scores: Tensor | None
    source: Probes | QueryProxy
    wide: PendingCentroids | PendingCodes


class Searcher:
    """Searches one collection; threads may share it. Centroids, codec and proxy model are kept by codebook id.

    What chooses candidates is computed on the processor, exact scores on `device`.
    """

    def __init__(self, database: Database, collection_id: CollectionId, name: str, device: torch.device) -> None:
        self._database = database
        self._collection_id = collection_id
        self._name = name
        self._device = device
        self._index: LoadedIndex | None = None
        self._loading = threading.Lock()

    def search_many(self, queries: Sequence[Float32Array], k: int, knobs: Knobs) -> list[list[Hit]]:
        """The k best passages for each (query tokens, dim). Raises what `explain` raises."""
        found: list[list[Hit]] = []
        for start in range(0, len(queries), _QUERIES_AT_ONCE):
            found.extend(self._search(queries[start : start + _QUERIES_AT_ONCE], k, knobs, Explanation()))
        return found

    def explain(self, query: Float32Array, k: int, knobs: Knobs, explained: Explanation, *, counting: bool = False) -> list[Hit]:
        """The k best passages for (query tokens, dim), best first; `explained` is filled in.

        With `counting` it also has the postings read, which costs a statement. The request must have been checked. Raises
        IndexNotBuiltError before the first build, ConfigError where proxies are asked for and there are none.
        """
        explained.hits = self._search([query], k, knobs, explained, counting=counting)[0]
        return explained.hits

    def _search(
        self, queries: Sequence[Float32Array], k: int, knobs: Knobs, explained: Explanation, *, counting: bool = False
    ) -> list[list[Hit]]:
        """Statements of all queries go out before the first answer is read: the server works ahead while answers are scored."""
        with self._database.reading(f"searching collection {self._name!r}", pipelined=True) as connection:
            index, settings, running = self._send(connection, queries, k, knobs, explained)
            narrowed = [self._narrow(connection, index, settings, k, one, explained) for one in running]
            ranked = [self._rank(index, k, one.query, kept, explained) for one, kept in zip(running, narrowed, strict=True)]
            with explained.stage("texts"):
                explained.round_trips += 1
                shown = passages.texts(connection, self._collection_id, [key for keys, _ in ranked for key in keys])
            if counting and isinstance(running[0].source, Probes):
                explained.postings_read = read.postings_read(connection, self._collection_id, index.codebook_id, running[0].source)
        return [
            [
                Hit(place, shown[passage_id][0], score, *shown[passage_id][1:])
                for place, (passage_id, score) in enumerate(zip(passage_ids, scores, strict=True), start=1)
            ]
            for passage_ids, scores in ranked
        ]

    def _send(
        self, connection: Connection, queries: Sequence[Float32Array], k: int, knobs: Knobs, explained: Explanation
    ) -> tuple[LoadedIndex, SearchSettings, list[Running]]:
        """Ask for every query's candidates, as if the index in memory were the active one; if not, load that and ask again."""
        index = self._index
        while True:
            settings = choose_settings(k, index.searched, knobs) if index else None
            begun = read.begin(connection, self._collection_id, settings.candidates if settings else 1)
            running = [self._ask(connection, index, settings, query, explained) for query in queries] if index and settings else []
            with explained.stage("candidates"):
                explained.round_trips += 1
                rows = begun.rows()
            active = rows[0][0] if rows else None
            if index and settings and active == index.codebook_id:
                return index, settings, running
            with explained.stage("load"):
                index = self._load(connection, active)

    def _ask(
        self,
        connection: Connection,
        index: LoadedIndex,
        settings: SearchSettings,
        query: Float32Array,
        explained: Explanation,
    ) -> Running:
        """Send the statement for one query's candidates; centroid scores wait until then where it does not need them."""
        scores: Tensor | None = None
        source: Probes | QueryProxy
        with explained.stage("probe"):
            if settings.generator == "proxy" and index.proxy_model:
                source = QueryProxy(index.proxy_model.query(query))
            else:
                scores = centroid_scores(query, index.quick_centroids)
                source = select_probes(scores, settings.probes)
                explained.probes = len(source.centroid_ids)
        with explained.stage("candidates"):
            wide = self._candidates(connection, index, source, settings)
        if settings.pruning < settings.candidates and scores is None:
            with explained.stage("interaction"):
                scores = centroid_scores(query, index.quick_centroids)
        return Running(query, scores, source, wide)

    def _candidates(
        self, connection: Connection, index: LoadedIndex, source: Probes | QueryProxy, settings: SearchSettings
    ) -> PendingCentroids | PendingCodes:
        where = connection, self._collection_id, index.codebook_id, source, settings.candidates
        if settings.pruning < settings.candidates:
            return read.centroids_only(*where)
        return read.with_residuals(*where)

    def _narrow(
        self,
        connection: Connection,
        index: LoadedIndex,
        settings: SearchSettings,
        k: int,
        one: Running,
        explained: Explanation,
    ) -> PendingCodes | CodedPassages:
        """Read one query's candidates; ask for all codes of those that interaction with centroids keeps (PLAID's middle stage)."""
        with explained.stage("candidates"):
            wide = one.wide.read()
        explained.candidates = len(wide.passage_ids)
        explained.bytes_moved += wide.bytes_moved
        if len(wide.passage_ids) < k:
            with explained.stage("candidates"):
                explained.round_trips += 1
                one.source = every_centroid(centroid_scores(one.query, index.quick_centroids))
                explained.probes = len(one.source.centroid_ids)
                where = connection, self._collection_id, index.codebook_id, one.source, settings.candidates
                everything = read.with_residuals(*where).read()
            explained.candidates = len(everything.passage_ids)
            explained.bytes_moved += everything.bytes_moved
            return everything
        if one.scores is None or settings.pruning == settings.candidates:
            return wide
        with explained.stage("interaction"):
            approximate = rank.centroid_interaction(one.scores, wide)
            kept = rank.best_first(approximate, wide.passage_ids, settings.pruning)
        with explained.stage("codes"):
            explained.round_trips += 1
            return read.codes_of(connection, self._collection_id, index.codebook_id, wide.passage_ids[kept])

    def _rank(
        self, index: LoadedIndex, k: int, query: Float32Array, coded: PendingCodes | CodedPassages, explained: Explanation
    ) -> tuple[list[int], list[float]]:
        """Passage ids and scores of the k best."""
        if isinstance(coded, PendingCodes):
            with explained.stage("codes"):
                coded = coded.read()
            explained.bytes_moved += coded.bytes_moved
        with explained.stage("maxsim"):
            exact = rank.decoded_maxsim(query, index.codebook, coded)
            order: Int64Array = rank.best_first(exact, coded.passage_ids, k)
        explained.passages_decoded = len(coded.passage_ids)
        explained.tokens_decoded = len(coded.centroid_ids)
        return coded.passage_ids[order].tolist(), exact[order].tolist()

    def _load(self, connection: Connection, active: CodebookId | None) -> LoadedIndex:
        """The index of this snapshot's active codebook, loaded once."""
        if active is None:
            catalog.state(connection, self._collection_id)  # raises where the collection was dropped
            msg = f"collection {self._name!r} has no index yet; add passages, then call build() (or `pgretrieval index`)"
            raise IndexNotBuiltError(msg)
        with self._loading:
            if self._index is None or self._index.codebook_id != active:
                coder = load_coder(connection, self._collection_id, active, self._device)
                state = catalog.state(connection, self._collection_id)
                self._index = LoadedIndex(
                    active,
                    coder.codebook,
                    quick(torch.from_numpy(coder.codebook.centroids)),
                    coder.proxy_model,
                    Searched(state.passages, state.tokens, state.generator, coder.proxy_model is not None),
                )
            return self._index
