"""What the stages of a build share."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from pgretrieval.db.connection import Connection, Database
from pgretrieval.db.tables.collections import CollectionRow
from pgretrieval.db.tables.rebuilds import Rebuild
from pgretrieval.encode.base import CollectionEncoder
from pgretrieval.types import CollectionId, Int64Array

Stage = Callable[[str, int, int], None]
"""Told the stage's name, the units done and the units in all."""

VALUES_AT_ONCE = 2**24  # read and coded together: 131,072 tokens of 128 dimensions, 64 MiB


@dataclass(frozen=True, slots=True)
class Work:
    """What one build works on: the collection as it is, what is made of it, and where it computes.

    `writing` is a second connection, for what is written while more is read; `lock` is the one that keeps other builds away. None
    is of the pool.
    """

    database: Database
    connection: Connection
    writing: Connection
    lock: Connection
    collection: CollectionRow
    making: Rebuild
    encoder: CollectionEncoder | None
    device: torch.device
    stage: Stage

    @property
    def collection_id(self) -> CollectionId:
        """Of the collection."""
        return self.collection.collection_id

    @property
    def wants_proxies(self) -> bool:
        """Whether the collection asks for proxies; "auto" has postings alone, which measured better."""
        return self.collection.generator == "proxy"

    @property
    def encodes(self) -> bool:
        """Whether vectors are made from texts: those that are stored are of another encoder, or are not there."""
        return self.making.encoding != self.collection.encoding

    @property
    def makes_dense(self) -> bool:
        """Whether the collection's dense vectors are made anew."""
        return self.making.encoder is not None and self.collection.keeps_dense and not self.collection.given_dense

    @property
    def writes_words(self) -> bool:
        """Whether postings of words are still to be written; those of a built collection do not change with its codebook."""
        return self.collection.language is not None and not self.collection.has_words


def parts(lengths: Int64Array, tokens: int) -> list[tuple[int, int]]:
    """Runs of passages with about `tokens` tokens each."""
    if not len(lengths):
        return []
    owner = np.cumsum(lengths) // tokens
    edges = [0, *(np.flatnonzero(np.diff(owner)) + 1).tolist(), len(lengths)]
    return list(itertools.pairwise(edges))
