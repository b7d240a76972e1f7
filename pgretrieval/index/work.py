"""State shared by the stages of a build."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pgretrieval.db.connection import Connection, Database
from pgretrieval.db.handles import CollectionTables
from pgretrieval.db.tables.collections import CollectionRow
from pgretrieval.db.tables.rebuilds import Rebuild
from pgretrieval.encode.base import CollectionEncoder
from pgretrieval.index.options import makes_dense
from pgretrieval.types import CollectionId, Int64Array

if TYPE_CHECKING:
    import torch

Stage = Callable[[str, int, int], None]
"""Callback with a stage's name, the units done and the total."""

VALUES_AT_ONCE = 2**24  # values read and coded at once: 131,072 tokens of 128 dimensions, 64 MiB


@dataclass(frozen=True, slots=True)
class Work:
    """State of one build: the collection, the new index, connection and device. The connection is not from the pool."""

    database: Database
    connection: Connection
    collection: CollectionRow
    making: Rebuild
    encoder: CollectionEncoder | None
    device: torch.device
    stage: Stage

    @property
    def collection_id(self) -> CollectionId:
        """Id of the collection."""
        return self.collection.collection_id

    @property
    def tables(self) -> CollectionTables:
        """The collection's tables, over the connection that reads."""
        return CollectionTables(self.connection, self.collection_id)

    @property
    def doing(self) -> str:
        """The work, for error messages."""
        return doing(self.collection)

    @property
    def wants_proxies(self) -> bool:
        """True if the collection uses proxies; "auto" uses only postings, which measured better."""
        return self.collection.generator == "proxy"

    @property
    def encodes(self) -> bool:
        """True if vectors are computed from texts, because the stored ones are missing or of another encoder."""
        return self.making.encoding != self.collection.encoding

    @property
    def makes_dense(self) -> bool:
        """True if the collection's dense vectors are recomputed."""
        if self.making.encoder is None or self.encoder is None or self.collection.given_dense:
            return False
        return makes_dense(self.collection, self.encoder)

    @property
    def writes_words(self) -> bool:
        """True if postings of words are missing; those of a built collection do not depend on its codebook."""
        return self.collection.language is not None and not self.collection.has_words


def doing(collection: CollectionRow) -> str:
    """Return what a build does, for error messages."""
    return f"building collection {collection.name!r}"


def ranges(lengths: Int64Array, tokens: int) -> list[tuple[int, int]]:
    """Return ranges of passages with about `tokens` tokens each."""
    if not len(lengths):
        return []
    owner = np.cumsum(lengths) // tokens
    edges = [0, *(np.flatnonzero(np.diff(owner)) + 1).tolist(), len(lengths)]
    return list(itertools.pairwise(edges))
