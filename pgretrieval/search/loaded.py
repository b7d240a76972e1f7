"""Active index of a collection in memory, shared by its searches."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from uuid import UUID

import numpy as np

from pgretrieval.db import candidates as read
from pgretrieval.db.candidates import Pending
from pgretrieval.db.connection import Connection
from pgretrieval.db.handles import IndexTables
from pgretrieval.db.tables import collections
from pgretrieval.index.coding import Coders
from pgretrieval.numerics.codebook import Codebook
from pgretrieval.numerics.proxy_model import ProxyModel
from pgretrieval.search.centroid_cache import CentroidCache
from pgretrieval.search.options import QueryVectors
from pgretrieval.types import CodebookId, CollectionId, Generator, Int64Array


@dataclass(frozen=True, slots=True)
class CollectionStatistics:
    """Statistics from which the defaults of a search follow.

    `generator` is the collection's setting. `vectors_per_passage` is the constant number of vectors of a passage, else None.
    """

    passages: int
    tokens: int
    generator: Generator
    has_proxies: bool
    vectors_per_passage: int | None = None


@dataclass(frozen=True, slots=True)
class LoadedIndex:
    """Codebook and proxy model in memory; `identity` is the codebook's globally unique id.

    `restricted` is True if row-level security hides
    passages from this role. `encoding` is the encoder generation of the vectors. `centroid_ids` are those of
    passages that searches have read. `sizes` counts tokens by centroid; None
    for PLAID and for restricted roles, to which counts would reveal hidden passages.
    """

    collection_id: CollectionId
    codebook_id: CodebookId
    identity: UUID
    codebook: Codebook
    proxy_model: ProxyModel | None
    keeps_vectors: bool
    codes_by_passage: bool
    restricted: bool
    encoding: int
    statistics: CollectionStatistics
    centroid_ids: CentroidCache
    sizes: CentroidSizes | None

    def tables(self, connection: Connection) -> IndexTables:
        """Return the handle of the index's tables over a connection."""
        return IndexTables(connection, self.collection_id, self.codebook_id)

    def fits(self, queries: QueryVectors) -> bool:
        """Return whether the queries match the encoder of the index: by generation, or by dimension for given vectors."""
        if queries.encoding is None:
            return all(query.shape[1] == self.codebook.dim for query in queries.vectors)
        return queries.encoding == self.encoding


class CentroidSizes:
    """Numbers of tokens of all centroids, as of the last search that needed exact ones. Threads may share it."""

    def __init__(self, tables: IndexTables, codebook: Codebook) -> None:
        self._codebook = codebook
        self._read: tuple[str, Int64Array] = ("", np.zeros(0, dtype=np.int64))
        self.in_snapshot(tables, read.version_of_postings(tables))

    @property
    def latest(self) -> Int64Array:
        """Counts (centroids,) that later changes may have made inexact."""
        return self._read[1]

    def in_snapshot(self, tables: IndexTables, version: Pending) -> tuple[Int64Array, int]:
        """Return the counts (centroids,) of the snapshot of `version`, and the round trips that this took."""
        ((current,),) = version.rows()
        known, sizes = self._read
        if known == current and len(sizes):
            return sizes, 0
        sizes = read.centroid_sizes(tables, self._codebook.codec.width).read(len(self._codebook.centroids))
        self._read = current, sizes
        return sizes, 1


class IndexCache:
    """Cache of the active index of one collection. Threads may share it."""

    def __init__(self, coders: Coders) -> None:
        self.current: LoadedIndex | None = None
        self._coders = coders
        self._loading = threading.Lock()

    def load(self, tables: IndexTables, identity: UUID) -> LoadedIndex:
        """Return the index of the snapshot's active codebook; load it if it is not cached."""
        with self._loading:
            state = collections.state(tables)
            current = self.current
            if current is None or (current.identity, current.restricted) != (identity, state.restricted):
                current = self.current = self._loaded(tables, identity, state)
            return current

    def _loaded(self, tables: IndexTables, identity: UUID, state: collections.State) -> LoadedIndex:
        coder = self._coders.get(tables, identity)
        codebook = coder.codebook
        sizes = None
        if self._coders.scoring.by_tokens and not state.restricted:
            sizes = CentroidSizes(tables, codebook)
        return LoadedIndex(
            tables.collection_id,
            tables.codebook_id,
            identity,
            codebook,
            coder.proxy_model,
            state.keep_vectors,
            self._coders.scoring.codes_by_passage,
            state.restricted,
            state.encoding,
            CollectionStatistics(
                state.passages, state.tokens, state.generator, coder.proxy_model is not None, state.vectors_per_passage
            ),
            CentroidCache(len(codebook.centroids)),
            sizes,
        )
