"""Anchor items spread over the passages: one near each mean of the passages' vectors."""

from __future__ import annotations

import numpy as np
import torch

from pgretrieval.db import candidates
from pgretrieval.db.handles import CollectionTables
from pgretrieval.db.tables import collections, factorizations, vectors
from pgretrieval.db.tables.collections import CollectionRow
from pgretrieval.errors import ConfigError
from pgretrieval.index.coding import Coders
from pgretrieval.numerics.kmeans import train_centroids
from pgretrieval.types import Float32Array, Int32Array, Int64Array

_BATCH = 512


def spread(
    tables: CollectionTables, collection: CollectionRow, coders: Coders, passage_ids: Int32Array, count: int, seed: int
) -> Int64Array:
    """Return the places of at most `count` passages. Raises ConfigError if no passage has vectors."""
    ids, rows = unit_vectors(tables, collection, coders, passage_ids)
    if not len(ids):
        msg = f'collection {collection.name!r} has no vectors for selection "kmeans"; choose another selection, such as "greedy"'
        raise ConfigError(msg)
    means = train_centroids(torch.from_numpy(np.ascontiguousarray(rows, dtype=np.float32)), count, seed).numpy()
    chosen: list[int] = []
    similar = rows @ means.T
    for mean in range(len(means)):
        similar[chosen, mean] = -np.inf
        chosen.append(int(np.argmax(similar[:, mean])))
    # Equal vectors give fewer means than `count`; the rest is drawn at random.
    others = np.random.default_rng(seed).permutation(np.setdiff1d(np.arange(len(ids)), chosen))
    wanted = np.concatenate([np.array(chosen, dtype=np.int64), others])[: min(count, len(ids))]
    places: Int64Array = np.searchsorted(passage_ids, ids[wanted]).astype(np.int64)
    return places


def unit_vectors(
    tables: CollectionTables, collection: CollectionRow, coders: Coders, passage_ids: Int32Array
) -> tuple[Int32Array, Float32Array]:
    """Return those of the passages that have vectors, and one unit vector of each: the dense vector or the mean of its tokens."""
    batches = range(0, len(passage_ids), _BATCH)
    parts = [_mean_vectors(tables, collection, coders, passage_ids[start : start + _BATCH]) for start in batches]
    having = [part for part in parts if len(part[0])]
    if not having:
        return np.empty(0, dtype=np.int32), np.empty((0, 1), dtype=np.float32)
    rows = np.concatenate([part[1] for part in having])
    units: Float32Array = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
    return np.concatenate([part[0] for part in having]), units


def _mean_vectors(
    tables: CollectionTables, collection: CollectionRow, coders: Coders, passage_ids: Int32Array
) -> tuple[Int32Array, Float32Array]:
    """Return dense vectors if the collection stores them, else the means of token vectors, stored or decoded."""
    if collection.has_all_dense:
        return factorizations.dense(tables, passage_ids)
    if collection.codebook_id is None or collection.keep_vectors:
        ids, tokens = vectors.read(tables, collection.encoding, passage_ids)
        return ids.ids, _means(tokens.vectors, tokens.offsets)
    index = tables.index(collection.codebook_id)
    codebook = coders.get(index, collections.state(tables).codebook_identity).codebook
    found = candidates.codes_of(index, passage_ids, len(codebook.centroids)).read()
    if not len(found.passage_ids):
        return found.passage_ids, np.empty((0, 1), dtype=np.float32)
    return found.passage_ids, _means(codebook.decode(found.centroid_ids, found.residuals), found.offsets)


def _means(tokens: Float32Array, offsets: Int64Array) -> Float32Array:
    if len(offsets) < 2:
        return np.empty((0, tokens.shape[1]), dtype=np.float32)
    sums = np.add.reduceat(tokens, offsets[:-1], axis=0)
    means: Float32Array = (sums / np.diff(offsets)[:, None]).astype(np.float32)
    return means
