"""The active index of a collection in memory: what all its searches share."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from uuid import UUID

import torch
from torch import Tensor

from pgretrieval.db import candidates as read
from pgretrieval.db.connection import Connection
from pgretrieval.db.tables import collections
from pgretrieval.index.coding import Coders
from pgretrieval.numerics.codebook import Codebook
from pgretrieval.numerics.hardware import quick
from pgretrieval.numerics.proxy_model import ProxyModel
from pgretrieval.search.options import QueryVectors
from pgretrieval.types import CodebookId, CollectionId, Generator, Int64Array


@dataclass(frozen=True, slots=True)
class CollectionStatistics:
    """What the defaults of a search follow from.

    `generator` is the collection's choice. `vectors_per_passage` is the number of vectors of every passage, None if that differs.
    """

    passages: int
    tokens: int
    generator: Generator
    has_proxies: bool
    vectors_per_passage: int | None = None


@dataclass(frozen=True, slots=True)
class LoadedIndex:
    """A codebook and its proxy model in memory; `identity` is the codebook's and comes only once, anywhere.

    `quick_centroids` is (centroids, dim) for scores that only choose. `restricted` tells whether row-level security hides passages
    from this role. `encoding` is the encoder generation of the vectors. `centroid_sizes` (centroids,) counts the tokens that each
    centroid lists; it is None for PLAID, and where it would tell of passages that the caller does not see.
    """

    collection_id: CollectionId
    codebook_id: CodebookId
    identity: UUID
    codebook: Codebook
    quick_centroids: Tensor
    proxy_model: ProxyModel | None
    keeps_vectors: bool
    restricted: bool
    encoding: int
    statistics: CollectionStatistics
    centroid_sizes: Int64Array | None

    def fits(self, queries: QueryVectors) -> bool:
        """Tell whether the queries were encoded as the passages were, as far as that can be told."""
        if queries.encoding is None:
            return all(query.shape[1] == self.codebook.dim for query in queries.vectors)
        return queries.encoding == self.encoding


class IndexCache:
    """Keeps the index of one collection from one search to the next; threads may share it."""

    def __init__(self, collection_id: CollectionId, coders: Coders) -> None:
        self.current: LoadedIndex | None = None
        self._collection_id = collection_id
        self._coders = coders
        self._loading = threading.Lock()

    def load(self, connection: Connection, codebook_id: CodebookId, identity: UUID) -> LoadedIndex:
        """Return the index of the snapshot's active codebook, loading it unless another thread has."""
        with self._loading:
            state = collections.state(connection, self._collection_id)
            current = self.current
            if current is None or (current.identity, current.restricted) != (identity, state.restricted):
                current = self.current = self._loaded(connection, codebook_id, identity, state)
            return current

    def _loaded(self, connection: Connection, codebook_id: CodebookId, identity: UUID, state: collections.State) -> LoadedIndex:
        coder = self._coders.get(connection, codebook_id, identity)
        codebook = coder.codebook
        sizes = None
        if self._coders.scoring.by_tokens and not state.restricted:
            pending = read.centroid_sizes(connection, self._collection_id, codebook_id, codebook.codec.width)
            sizes = read.sizes(pending, len(codebook.centroids))
        return LoadedIndex(
            self._collection_id,
            codebook_id,
            identity,
            codebook,
            quick(torch.from_numpy(codebook.centroids)),
            coder.proxy_model,
            state.keep_vectors,
            state.restricted,
            state.encoding,
            CollectionStatistics(
                state.passages, state.tokens, state.generator, coder.proxy_model is not None, state.vectors_per_passage
            ),
            sizes,
        )
