"""The searcher: the stages in order, on one snapshot."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, NoReturn, TypeAlias
from uuid import UUID

import numpy as np
import torch
from torch import Tensor

from pgretrieval.db import candidates as read
from pgretrieval.db.candidates import (
    CodedPassages,
    PendingCentroids,
    PendingCodes,
    PendingVectors,
    Probes,
    QueryProxy,
    StoredPassages,
)
from pgretrieval.db.connection import Connection, Database
from pgretrieval.db.tables import catalog, passages
from pgretrieval.db.tables.catalog import CollectionRow
from pgretrieval.errors import ConfigError, DimensionMismatchError, EncoderChangedError
from pgretrieval.index.coding import Coders
from pgretrieval.numerics.codebook import Codebook
from pgretrieval.numerics.hardware import quick
from pgretrieval.numerics.proxy_model import ProxyModel
from pgretrieval.search import rank
from pgretrieval.search.exhaustive import all_scores
from pgretrieval.search.explain import Explanation
from pgretrieval.search.fusion import Beside
from pgretrieval.search.options import ScanOptions
from pgretrieval.search.probe import centroid_scores, select_probes
from pgretrieval.search.settings import Searched, SearchSettings, choose_settings
from pgretrieval.search.token_search import ScoredPassages, TokenIndex, TokenSearch
from pgretrieval.search.token_settings import TokenSettings, choose_token_settings
from pgretrieval.types import CodebookId, Float32Array, Hit, HybridQuery, Int32Array, Int64Array, Restriction

Asked: TypeAlias = "PendingCodes | PendingVectors | CodedPassages | ScoredPassages"
"""What exact scoring needs of some passages, on its way or there already; or scores that need nothing more."""

_QUERIES_AT_ONCE = 16  # searched in one transaction, their statements sent ahead


class Asking(NamedTuple):
    """What is searched for: (query tokens, dim) vectors of one or more queries, and of which of the collection's encoders they are.

    `encoding` is None for vectors that the caller gave.
    """

    vectors: Sequence[Float32Array]
    encoding: int | None


@dataclass(frozen=True, slots=True)
class LoadedIndex:
    """A codebook and its proxy model in memory, known by an identity that comes only once.

    `quick_centroids` is (centroids, dim) for scores that only choose. `sizes` (centroids,) is how many tokens each centroid lists,
    where passages are scored by retrieved tokens and all of them are seen. `restricted` is whether row-level security hides
    passages from this role. `encoding` tells of which of the collection's encoders the vectors are.
    """

    identity: UUID
    codebook_id: CodebookId
    codebook: Codebook
    quick_centroids: Tensor
    proxy_model: ProxyModel | None
    keeps_vectors: bool
    restricted: bool
    encoding: int
    searched: Searched
    sizes: Int64Array | None

    def takes(self, asking: Asking) -> bool:
        """Whether the queries' vectors are of the encoder that the passages' are, as far as can be told."""
        if asking.encoding is None:
            return all(query.shape[1] == self.codebook.dim for query in asking.vectors)
        return asking.encoding == self.encoding


@dataclass(slots=True)
class Running:
    """One query on its way: its vectors, its scores against centroids where they are needed, and the candidates asked for.

    `complete` tells that fewer candidates than asked for are all that there are. `beside` is what a hybrid search asks for, too.
    """

    query: Float32Array
    settings: SearchSettings
    scores: Tensor | None
    source: Probes | QueryProxy
    wide: PendingCentroids | PendingCodes
    complete: bool
    beside: Beside | None


class Searcher:
    """Searches one collection; threads may share it. Centroids, codec and proxy model are kept by their codebook's identity.

    What chooses candidates is computed on the processor, exact scores where `coders` decode.
    """

    def __init__(self, database: Database, collection: CollectionRow, coders: Coders) -> None:
        self._database = database
        self._collection_id = collection.collection_id
        self._identity = collection.identity
        self._name = collection.name
        self._coders = coders
        self._index: LoadedIndex | None = None
        self._loading = threading.Lock()

    def search_many(self, asking: Asking, k: int, options: ScanOptions, restriction: Restriction | None = None) -> list[list[Hit]]:
        """The k best passages for each query. Raises what `explain` raises."""
        found: list[list[Hit]] = []
        for start in range(0, len(asking.vectors), _QUERIES_AT_ONCE):
            part = Asking(asking.vectors[start : start + _QUERIES_AT_ONCE], asking.encoding)
            found.extend(self._search(part, k, options, restriction, Explanation()))
        return found

    def explain(
        self,
        asking: Asking,
        k: int,
        options: ScanOptions,
        restriction: Restriction | None,
        explained: Explanation,
        *,
        hybrid: HybridQuery | None = None,
        counting: bool = False,
    ) -> list[Hit]:
        """The k best passages for one query, best first; `explained` is filled in.

        `hybrid` is what to search by as well. With `counting` it also has the postings read, which costs a statement. The request
        must have been checked. Before the first build all passages are compared. Raises ConfigError where proxies are asked for and
        there are none; EncoderChangedError, or DimensionMismatchError for given vectors, where the query was made for another
        encoder than the collection has.
        """
        explained.hits = self._search(asking, k, options, restriction, explained, hybrid=hybrid, counting=counting)[0]
        return explained.hits

    def _search(
        self,
        asking: Asking,
        k: int,
        options: ScanOptions,
        restriction: Restriction | None,
        explained: Explanation,
        *,
        hybrid: HybridQuery | None = None,
        counting: bool = False,
    ) -> list[list[Hit]]:
        """Statements of all queries go out before the first answer is read: the server works ahead while answers are scored."""
        try:
            return self._sent_ahead(asking, k, options, restriction, explained, hybrid=hybrid, counting=counting)
        except ConfigError:  # perhaps a function that found no such collection, before this was noticed
            with self._database.connection(f"looking up collection {self._name!r}") as connection:
                catalog.require(connection, self._collection_id, self._identity)
            raise

    def _sent_ahead(
        self,
        asking: Asking,
        k: int,
        options: ScanOptions,
        restriction: Restriction | None,
        explained: Explanation,
        *,
        hybrid: HybridQuery | None,
        counting: bool,
    ) -> list[list[Hit]]:
        with self._database.reading(f"searching collection {self._name!r}", pipelined=True) as connection:
            sent = self._send(connection, asking, k, options, restriction, hybrid, explained)
            if sent is None:
                ranked = self._compare_all(connection, asking, k, options, restriction or Restriction(), hybrid, explained)
            else:
                index, running = sent
                narrowed = [self._narrow(connection, index, k, one, explained) for one in running]
                ranked = [self._rank(index, k, one, kept, explained) for one, kept in zip(running, narrowed, strict=True)]
            with explained.stage("texts"):
                explained.round_trips += 1
                shown = passages.texts(connection, self._collection_id, [key for keys, _ in ranked for key in keys])
            first = running[0] if counting and sent else None
            if isinstance(first, Running) and isinstance(first.source, Probes) and not index.restricted:
                explained.postings_read = read.postings_read(connection, self._collection_id, index.codebook_id, first.source)
        return [
            [
                Hit(place, shown[passage_id][0], score, *shown[passage_id][1:])
                for place, (passage_id, score) in enumerate(zip(passage_ids, scores, strict=True), start=1)
            ]
            for passage_ids, scores in ranked
        ]

    def _send(
        self,
        connection: Connection,
        asking: Asking,
        k: int,
        options: ScanOptions,
        restriction: Restriction | None,
        hybrid: HybridQuery | None,
        explained: Explanation,
    ) -> tuple[LoadedIndex, list[Running | TokenSearch]] | None:
        """Ask for every query's candidates, as if the index in memory were the active one; if not, load that and ask again.

        None where there is no index yet.
        """
        index = self._index
        while True:
            settings = self._settings(index, k, options) if index and index.takes(asking) else None
            scanned = settings.candidates if isinstance(settings, SearchSettings) else 1
            begun = read.begin(connection, self._collection_id, scanned)
            running = (
                [self._ask(connection, index, settings, k, query, restriction, hybrid, explained) for query in asking.vectors]
                if index and settings
                else []
            )
            with explained.stage("candidates"):
                explained.round_trips += 1
                rows = begun.rows()
            active, codebook, collection, restricted = rows[0][:4] if rows else (None, None, None, False)
            if collection != self._identity:
                raise catalog.dropped(self._collection_id)
            if index and (codebook, restricted) == (index.identity, index.restricted):
                if settings is None:
                    self._refuse(asking, index.codebook.dim)
                return index, running
            if active is None:
                return None
            with explained.stage("load"):
                index = self._load(connection, active, codebook)

    def _settings(self, index: LoadedIndex, k: int, options: ScanOptions) -> SearchSettings | TokenSettings:
        """Raises ConfigError where proxies are asked for and the collection has none."""
        if not self._coders.scoring.by_tokens:
            return choose_settings(k, index.searched, options)
        return choose_token_settings(k, options)

    def _refuse(self, asking: Asking, dim: int) -> NoReturn:
        """The index is of another encoder than the query."""
        if asking.encoding is not None:
            raise EncoderChangedError(self._name)
        given = next(query.shape[1] for query in asking.vectors if query.shape[1] != dim)
        msg = (
            f"the vectors of the query have {given} dimensions, collection {self._name!r} has {dim} since its encoder was changed; "
            "encode queries with the new one"
        )
        raise DimensionMismatchError(msg)

    def _compare_all(
        self,
        connection: Connection,
        asking: Asking,
        k: int,
        options: ScanOptions,
        restriction: Restriction,
        hybrid: HybridQuery | None,
        explained: Explanation,
    ) -> list[tuple[list[int], list[float]]]:
        """Before the first build: passage ids and scores of the k best of all passages, by their vectors as they were added."""
        state = catalog.state(connection, self._collection_id)  # raises where the collection was dropped
        if asking.encoding not in (None, state.encoding):
            raise EncoderChangedError(self._name)
        with explained.stage("exhaustive"):
            explained.round_trips += 1
            passage_ids, scores = all_scores(connection, self._collection_id, asking.vectors, restriction)
            if options.reduction == "mean":
                scores /= np.array([[len(query)] for query in asking.vectors], dtype=np.float32)
            if hybrid:
                beside = Beside(connection, self._collection_id, hybrid, k, len(passage_ids), restriction)
                beside.join(passage_ids)
                scores = np.stack([beside.fuse(passage_ids, one) for one in scores])
            explained.candidates = explained.passages_decoded = len(passage_ids)
            orders = [rank.best_first(one, passage_ids, k) for one in scores]
        return [(passage_ids[order].tolist(), one[order].tolist()) for one, order in zip(scores, orders, strict=True)]

    def _ask(
        self,
        connection: Connection,
        index: LoadedIndex,
        settings: SearchSettings | TokenSettings,
        k: int,
        query: Float32Array,
        restriction: Restriction | None,
        hybrid: HybridQuery | None,
        explained: Explanation,
    ) -> Running | TokenSearch:
        """Send the statement for one query's candidates; centroid scores wait until then where it does not need them."""
        scores: Tensor | None = None
        source: Probes | QueryProxy
        restriction = restriction or (Restriction() if index.restricted else None)
        if isinstance(settings, TokenSettings):
            where = TokenIndex(
                connection,
                self._collection_id,
                index.codebook_id,
                index.codebook,
                index.quick_centroids,
                index.searched.tokens,
                index.sizes,
            )
            return TokenSearch(
                where,
                settings,
                query,
                restriction,
                self._beside(connection, hybrid, k, settings.reranked, restriction),
                explained,
            )
        with explained.stage("probe"):
            if settings.generator == "proxy" and index.proxy_model and restriction is None:
                source = QueryProxy(index.proxy_model.query(query))
            else:
                scores = centroid_scores(query, index.quick_centroids)
                source = select_probes(scores, settings.probes)
                explained.probes = len(source.centroid_ids)
        with explained.stage("candidates"):
            wide = self._candidates(connection, index, source, restriction, settings)
            beside = self._beside(connection, hybrid, k, settings.candidates, restriction)
        if settings.pruning < settings.candidates and scores is None:
            with explained.stage("interaction"):
                scores = centroid_scores(query, index.quick_centroids)
        return Running(query, settings, scores, source, wide, restriction is not None, beside)

    def _beside(
        self, connection: Connection, hybrid: HybridQuery | None, k: int, candidates: int, restriction: Restriction | None
    ) -> Beside | None:
        where = connection, self._collection_id
        return Beside(*where, hybrid, k, candidates, restriction or Restriction()) if hybrid else None

    def _candidates(
        self,
        connection: Connection,
        index: LoadedIndex,
        source: Probes | QueryProxy,
        restriction: Restriction | None,
        settings: SearchSettings,
    ) -> PendingCentroids | PendingCodes:
        if restriction is not None and isinstance(source, Probes):
            among = connection, self._collection_id, index.codebook_id, source, restriction, settings.candidates
            return read.among(*among, index.searched.vectors_per_passage)
        where = connection, self._collection_id, index.codebook_id, source, settings.candidates
        if settings.pruning < settings.candidates or index.keeps_vectors:
            return read.centroids_only(*where, index.searched.vectors_per_passage)
        return read.with_residuals(*where)

    def _narrow(
        self,
        connection: Connection,
        index: LoadedIndex,
        k: int,
        one: Running | TokenSearch,
        explained: Explanation,
    ) -> Asked:
        """Read one query's candidates; ask for all codes of those that interaction with centroids keeps (PLAID's middle stage)."""
        if isinstance(one, TokenSearch):
            return self._score_tokens(connection, index, k, one, explained)
        with explained.stage("candidates"):
            wide = one.wide.read()
            explained.bytes_moved += wide.bytes_moved
            if len(wide.passage_ids) < k and not one.complete:
                explained.round_trips += 1
                wide = self._with_unlisted(connection, index, one)
                explained.bytes_moved += wide.bytes_moved
        explained.candidates = len(wide.passage_ids)
        passage_ids = wide.passage_ids
        if len(passage_ids) > one.settings.pruning:
            with explained.stage("interaction"):
                scores = centroid_scores(one.query, index.quick_centroids) if one.scores is None else one.scores
                approximate = rank.centroid_interaction(scores, wide)
                passage_ids = passage_ids[rank.best_first(approximate, passage_ids, one.settings.pruning)]
        elif len(wide.residuals) and one.beside is None:
            return wide
        with explained.stage("codes"):
            explained.round_trips += 1
            if one.beside:
                passage_ids = one.beside.join(passage_ids)
            return self._all_of(connection, index, passage_ids)

    def _score_tokens(self, connection: Connection, index: LoadedIndex, k: int, one: TokenSearch, explained: Explanation) -> Asked:
        """Read one query's tokens and score passages by them; ask for all codes of the best where these are scored again."""
        found = one.score(k)
        if one.settings.rerank == "none" and one.beside is None:
            return ScoredPassages(found.passage_ids, one.reduce(found.scores))
        passage_ids = one.best(found)
        with explained.stage("codes"):
            if one.beside:
                passage_ids = one.beside.join(passage_ids)
            if one.settings.rerank == "none":
                return ScoredPassages(passage_ids, one.reduce(found.of(passage_ids)))
            explained.round_trips += 1
            return self._all_of(connection, index, passage_ids)

    def _all_of(self, connection: Connection, index: LoadedIndex, passage_ids: Int32Array) -> PendingCodes | PendingVectors:
        if index.keeps_vectors:
            return read.vectors_of(connection, self._collection_id, passage_ids)
        return read.codes_of(connection, self._collection_id, index.codebook_id, passage_ids)

    def _with_unlisted(self, connection: Connection, index: LoadedIndex, one: Running) -> CodedPassages:
        """Candidates where the probed centroids list too few: passages that they do not list come after those that they do."""
        probes = select_probes(centroid_scores(one.query, index.quick_centroids), one.settings.probes)
        where = connection, self._collection_id, index.codebook_id, probes, Restriction(), one.settings.candidates
        return read.among(*where, index.searched.vectors_per_passage).read()

    def _rank(
        self, index: LoadedIndex, k: int, one: Running | TokenSearch, asked: Asked, explained: Explanation
    ) -> tuple[list[int], list[float]]:
        """Passage ids and scores of the k best."""
        if isinstance(asked, ScoredPassages):
            passage_ids, scores = asked
            if one.beside:
                scores = one.beside.fuse(passage_ids, scores)
            best = rank.best_first(scores, passage_ids, k)
            return passage_ids[best].tolist(), scores[best].tolist()
        if isinstance(asked, CodedPassages):
            found: CodedPassages | StoredPassages = asked
        else:
            with explained.stage("codes"):
                found = asked.read()
            explained.bytes_moved += found.bytes_moved
        with explained.stage("maxsim"):
            if isinstance(found, StoredPassages):
                exact = rank.stored_maxsim(one.query, found.tokens)
                explained.tokens_decoded += len(found.tokens.vectors)
            else:
                exact = rank.decoded_maxsim(one.query, index.codebook, found)
                explained.tokens_decoded += len(found.centroid_ids)
            if isinstance(one, TokenSearch):
                exact = one.reduce(exact)
            if one.beside:
                exact = one.beside.fuse(found.passage_ids, exact)
            order: Int64Array = rank.best_first(exact, found.passage_ids, k)
        explained.passages_decoded = len(found.passage_ids)
        return found.passage_ids[order].tolist(), exact[order].tolist()

    def _load(self, connection: Connection, active: CodebookId, identity: UUID) -> LoadedIndex:
        """The index of this snapshot's active codebook, loaded once."""
        with self._loading:
            state = catalog.state(connection, self._collection_id)
            if self._index is None or (self._index.identity, self._index.restricted) != (identity, state.restricted):
                coder = self._coders.get(connection, active, identity)
                sizes = None
                if self._coders.scoring.by_tokens and not state.restricted:
                    of = connection, self._collection_id, active, coder.codebook.codec.width
                    sizes = read.sizes(read.centroid_sizes(*of), len(coder.codebook.centroids))
                self._index = LoadedIndex(
                    identity,
                    active,
                    coder.codebook,
                    quick(torch.from_numpy(coder.codebook.centroids)),
                    coder.proxy_model,
                    state.keep_vectors,
                    state.restricted,
                    state.encoding,
                    Searched(
                        state.passages, state.tokens, state.generator, coder.proxy_model is not None, state.vectors_per_passage
                    ),
                    sizes,
                )
            return self._index
