"""Building the index: train a codebook on a sample, code every passage, write postings, switch over."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from pgretrieval.db import catalog, codebooks, codes, passages, vectors
from pgretrieval.db.catalog import CollectionRow
from pgretrieval.db.connection import Connection, Database
from pgretrieval.encode.base import CollectionEncoder
from pgretrieval.errors import IndexNotBuiltError
from pgretrieval.index.coding import centroid_passage_pairs, codebook_from_row, postings_of, row_from_codebook
from pgretrieval.index.ingest import BATCH
from pgretrieval.index.vectors import token_matrix
from pgretrieval.quantize.codebook import Codebook, train_codebook
from pgretrieval.quantize.kmeans import centroid_count, sample_passage_count
from pgretrieval.types import CodebookId, CollectionId, Int32Array, Int64Array, TokenMatrix

Stage = Callable[[str, int, int], None]
"""Told the stage's name, the units done and the units in all."""

_TRAINING_TOKENS_PER_CENTROID = 64
_TRAINING_VALUES_AT_MOST = 2**28  # 1 GiB of sample: 2.1 million tokens of 128 dimensions
_VALUES_AT_ONCE = 2**24  # read and coded together: 131,072 tokens of 128 dimensions, 64 MiB
_GROWTH_THAT_RETRAINS = 2.0
_SEED = 0


@dataclass(frozen=True, slots=True)
class BuildReport:
    """What a build did: passages and tokens under the codebook, its centroids, and whether there was anything to do."""

    passages: int
    tokens: int
    centroids: int
    built: bool


def build(
    database: Database, collection: CollectionRow, encoder: CollectionEncoder | None, stage: Stage | None = None
) -> BuildReport:
    """Train, code and switch over; searches go on meanwhile, adds wait.

    A build that was interrupted continues with the codebook it had trained. A built collection is left alone until it has
    grown to more than twice the tokens its codebook was trained for; then its texts are encoded again and a new codebook is
    trained. Raises IndexNotBuiltError where there is nothing to build from.
    """
    stage = stage or _silent
    with database.connection(f"building collection {collection.name!r}") as connection, _alone(connection, collection):
        current = catalog.state(connection, collection.collection_id)
        if current.codebook_id is not None and not current.staged:
            trained = codebooks.trained_for(connection, current.codebook_id)
            if current.tokens <= _GROWTH_THAT_RETRAINS * trained.tokens or encoder is None:
                return BuildReport(current.passages, current.tokens, trained.centroids, built=False)
        if not current.passages:
            msg = f"collection {collection.name!r} is empty; add passages, then build"
            raise IndexNotBuiltError(msg)
        if current.staged < current.passages:
            _encode_again(connection, collection, encoder, current.passages - current.staged, stage)
        ids, lengths = vectors.staged(connection, collection.collection_id)
        with connection.transaction():
            codebook_id = _train(connection, collection, current.codebook_id, ids, lengths, stage)
        with connection.transaction():
            codebook = codebook_from_row(codebooks.load(connection, collection.collection_id, codebook_id))
            _code_all(connection, collection.collection_id, codebook_id, codebook, ids, lengths, stage)
            stage("index", 0, 1)
            codebooks.activate(connection, collection.collection_id, codebook_id)
            codebooks.index_centroids(connection, collection.collection_id, codebook.dim)
            vectors.clear(connection, collection.collection_id)
        catalog.vacuum(connection, collection.collection_id, "centroid", "passage", "token_code", "posting")
        stage("index", 1, 1)
        return BuildReport(len(ids), int(lengths.sum()), len(codebook.centroids), built=True)


def _silent(_name: str, _done: int, _total: int) -> None:
    pass


@contextmanager
def _alone(connection: Connection, collection: CollectionRow) -> Iterator[None]:
    """Wait for running adds and other builds, and keep new ones waiting."""
    catalog.lock_for_build(connection, collection.collection_id)
    try:
        yield
    finally:
        if not connection.closed:
            catalog.unlock_build(connection, collection.collection_id)


def _encode_again(
    connection: Connection, collection: CollectionRow, encoder: CollectionEncoder | None, missing: int, stage: Stage
) -> None:
    """Stage vectors of passages that have none any more; each batch is kept at once."""
    if encoder is None:
        msg = (
            f"{missing} passages of collection {collection.name!r} have no vectors to train on, and there is no encoder to make "
            "them; open it with get_collection(name, encoder=…)"
        )
        raise IndexNotBuiltError(msg)
    done = 0
    while batch := passages.without_vectors(connection, collection.collection_id, BATCH):
        stage("encode", done, missing)
        ids = np.array([passage_id for passage_id, _ in batch], dtype=np.int32)
        tokens = token_matrix(encoder.encode_document([passage.encoded_text for _, passage in batch]))
        with connection.transaction():
            vectors.copy(connection, collection.collection_id, ids, tokens)
        done += len(batch)
    stage("encode", missing, missing)


def _train(
    connection: Connection,
    collection: CollectionRow,
    active: CodebookId | None,
    ids: Int32Array,
    lengths: Int64Array,
    stage: Stage,
) -> CodebookId:
    """Train a codebook on a seeded sample of passages, or take the one that an interrupted build left."""
    tokens = int(lengths.sum())
    found = codebooks.unfinished(connection, collection.collection_id, active, collection.bits, len(ids), tokens)
    if found is not None:
        return found
    count = centroid_count(tokens)
    stage("train", 0, 1)
    sample = _sample(connection, collection, ids, lengths, count * _TRAINING_TOKENS_PER_CENTROID)
    codebook = train_codebook(
        sample.vectors, count, collection.bits, collection.levels, _SEED, lambda done, steps: stage("train", done, steps)
    )
    row = row_from_codebook(codebook, len(ids), tokens)
    return codebooks.save(connection, collection.collection_id, row)


def _sample(connection: Connection, collection: CollectionRow, ids: Int32Array, lengths: Int64Array, at_most: int) -> TokenMatrix:
    """Random passages: as many as the paper takes, or fewer where they hold `at_most` tokens already."""
    at_most = min(at_most, _TRAINING_VALUES_AT_MOST // (collection.dim or 1))
    order = np.random.default_rng(_SEED).permutation(len(ids))[: sample_passage_count(len(ids))]
    enough = int(np.searchsorted(np.cumsum(lengths[order]), at_most)) + 1
    return vectors.read(connection, collection.collection_id, np.sort(ids[order[:enough]]))


def _code_all(
    connection: Connection,
    collection_id: CollectionId,
    codebook_id: CodebookId,
    codebook: Codebook,
    ids: Int32Array,
    lengths: Int64Array,
    stage: Stage,
) -> None:
    """Read staged vectors part by part, write their codes, and at the end the postings of all."""
    pairs: list[Int64Array] = []
    for start, end in _parts(lengths, _VALUES_AT_ONCE // codebook.dim):
        stage("code", start, len(ids))
        part = vectors.read(connection, collection_id, ids[start:end])
        centroid_ids, residuals = codebook.encode(part.vectors)
        codes.copy_codes(connection, collection_id, codebook_id, ids[start:end], part.offsets, centroid_ids, residuals)
        pairs.append(centroid_passage_pairs(centroid_ids, part.offsets, ids[start:end]))
    stage("code", len(ids), len(ids))
    codes.copy_postings(connection, collection_id, codebook_id, 0, *postings_of(np.concatenate(pairs)))


def _parts(lengths: Int64Array, tokens: int) -> list[tuple[int, int]]:
    """Runs of passages with about `tokens` tokens each."""
    owner = np.cumsum(lengths) // tokens
    edges = [0, *(np.flatnonzero(np.diff(owner)) + 1).tolist(), len(lengths)]
    return list(itertools.pairwise(edges))
