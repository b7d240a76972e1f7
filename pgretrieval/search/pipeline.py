"""The searcher: the stages in order, on one snapshot."""

from __future__ import annotations

import threading
from typing import NamedTuple

from pgretrieval.db import candidates as read
from pgretrieval.db import catalog, codebooks, passages
from pgretrieval.db.candidates import CodedPassages, Probes
from pgretrieval.db.connection import Connection, Database
from pgretrieval.errors import IndexNotBuiltError
from pgretrieval.index.coding import codebook_from_row
from pgretrieval.quantize.codebook import Codebook
from pgretrieval.search import rank
from pgretrieval.search.explain import Explanation
from pgretrieval.search.probe import centroid_scores, every_centroid, select_probes
from pgretrieval.search.settings import Knobs, SearchSettings, choose_settings
from pgretrieval.types import CodebookId, CollectionId, Float32Array, Hit


class Cached(NamedTuple):
    """A codebook in memory, and the passages and tokens when it was loaded, from which defaults follow."""

    codebook_id: CodebookId
    codebook: Codebook
    passages: int
    tokens: int


class Searcher:
    """Searches one collection; threads may share it. Centroids and codec are kept by codebook id."""

    def __init__(self, database: Database, collection_id: CollectionId, name: str) -> None:
        self._database = database
        self._collection_id = collection_id
        self._name = name
        self._cached: Cached | None = None
        self._loading = threading.Lock()

    def search(
        self,
        query: Float32Array,
        k: int,
        knobs: Knobs,
        *,
        explanation: Explanation | None = None,
        counting: bool = False,
    ) -> list[Hit]:
        """The k best passages for (query tokens, dim).

        `explanation` is filled in; with `counting` also with the postings read, which costs a statement. The request must have been
        checked. Raises IndexNotBuiltError before the first build.
        """
        explained = explanation or Explanation()
        with self._database.reading(f"searching collection {self._name!r}") as connection:
            with explained.stage("snapshot"):
                cached = self._current(connection)
            settings = choose_settings(k, cached.passages, cached.tokens, knobs)
            with explained.stage("probe"):
                scores = centroid_scores(query, cached.codebook.centroids)
                chosen = select_probes(scores, settings.probes)
            coded = self._candidates(connection, cached, scores, chosen, settings, explained)
            if len(coded.passage_ids) < k and len(chosen.centroid_ids) < scores.shape[1]:
                chosen = every_centroid(scores)
                coded = self._candidates(connection, cached, scores, chosen, settings, explained)
            with explained.stage("maxsim"):
                exact = rank.decoded_maxsim(query, cached.codebook, coded)
                order = rank.best_first(exact, coded.passage_ids, k).tolist()
            explained.probes = len(chosen.centroid_ids)
            explained.passages_decoded = len(coded.passage_ids)
            explained.tokens_decoded = len(coded.centroid_ids)
            with explained.stage("texts"):
                best = [coded.passage_ids[i] for i in order]
                shown = passages.texts(connection, self._collection_id, best)
            if counting:
                explained.postings_read = read.postings_read(connection, self._collection_id, cached.codebook_id, chosen)
        explained.hits = [
            Hit(place, shown[passage_id][0], float(exact[i]), *shown[passage_id][1:])
            for place, (i, passage_id) in enumerate(zip(order, best, strict=True), start=1)
        ]
        return explained.hits

    def _candidates(
        self,
        connection: Connection,
        cached: Cached,
        scores: Float32Array,
        chosen: Probes,
        settings: SearchSettings,
        explained: Explanation,
    ) -> CodedPassages:
        """Candidates with their codes: in one round trip, or pruned by centroid interaction between two."""
        where = self._collection_id, cached.codebook_id
        width = cached.codebook.codec.width
        if settings.pruning == settings.candidates:
            with explained.stage("candidates"):
                coded = read.with_residuals(connection, *where, chosen, settings.candidates, width)
            explained.candidates = len(coded.passage_ids)
            explained.bytes_moved += coded.bytes_moved
            return coded
        with explained.stage("candidates"):
            wide = read.centroids_only(connection, *where, chosen, settings.candidates)
        with explained.stage("interaction"):
            approximate = rank.centroid_interaction(scores, wide)
            kept = rank.best_first(approximate, wide.passage_ids, settings.pruning).tolist()
        with explained.stage("codes"):
            coded = read.codes_of(connection, *where, [wide.passage_ids[i] for i in kept], width)
        explained.candidates = len(wide.passage_ids)
        explained.bytes_moved += wide.bytes_moved + coded.bytes_moved
        return coded

    def _current(self, connection: Connection) -> Cached:
        """The codebook that is active in this snapshot, loaded once."""
        active = read.active_codebook(connection, self._collection_id)
        cached = self._cached
        if cached is not None and cached.codebook_id == active:
            return cached
        if active is None:
            catalog.state(connection, self._collection_id)  # raises where the collection was dropped
            msg = f"collection {self._name!r} has no index yet; add passages, then call build() (or `pgretrieval index`)"
            raise IndexNotBuiltError(msg)
        with self._loading:
            if self._cached is None or self._cached.codebook_id != active:
                codebook = codebook_from_row(codebooks.load(connection, self._collection_id, active))
                state = catalog.state(connection, self._collection_id)
                self._cached = Cached(active, codebook, state.passages, state.tokens)
            return self._cached
