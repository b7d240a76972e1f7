"""Encoding of passages without vectors of the generation that a build makes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pgretrieval.buckets import PassageIds, buckets_of
from pgretrieval.db.handles import CollectionTables
from pgretrieval.db.tables import passages, vectors
from pgretrieval.encode.base import CollectionEncoder
from pgretrieval.errors import IndexNotBuiltError
from pgretrieval.index.ingest import BATCH
from pgretrieval.index.sources import texts_to_encode
from pgretrieval.index.vectors import check_counts, token_matrix
from pgretrieval.index.work import Work
from pgretrieval.types import Float32Array, Passage, TokenMatrix


class Encoded(NamedTuple):
    """Vectors of passages; `dense` has a row for each, or is None."""

    passages: PassageIds
    tokens: TokenMatrix
    dense: Float32Array | None


def index_dense(work: Work) -> None:
    """Create the vector index over the dense vectors to come, before there are rows: building it over many blocks adds."""
    if not work.makes_dense:
        return
    _, dense = required_encoder(work, 1).encode_document_with_dense(["dimension"])
    with work.connection.transaction():
        if work.collection.codebook_id is not None:
            vectors.index_dense(work.tables, work.collection.dense_encoding, work.collection.dense_dim)
        vectors.index_dense(work.tables, work.making.encoding, dense.shape[1])


def next_texts(work: Work) -> list[tuple[int, Passage]]:
    """Return a batch of passages without vectors of the new generation."""
    return passages.without_vectors(work.tables, work.making.encoding, BATCH) if work.encodes else []


def encode(work: Work, batch: list[tuple[int, Passage]]) -> None:
    """Encode passages, then write their vectors in one transaction."""
    result = encoded(work, batch)
    with work.connection.transaction():
        write_encoded(work.tables, work.making.encoding, result)


def encoded(work: Work, batch: list[tuple[int, Passage]]) -> Encoded:
    """Encode passages."""
    encoder = required_encoder(work, len(batch))
    ids = PassageIds(
        np.array([passage_id for passage_id, _ in batch], dtype=np.int32),
        buckets_of([passage.id for _, passage in batch], work.collection.buckets),
    )
    texts = texts_to_encode([passage for _, passage in batch])
    arrays, dense = encoder.encode_document_with_dense(texts) if work.makes_dense else (encoder.encode_document(texts), None)
    tokens = token_matrix(arrays, unit=work.collection.scoring.unit_vectors)
    check_counts(tokens, [passage.id for _, passage in batch], work.making.vectors_per_passage)
    return Encoded(ids, tokens, dense)


def write_encoded(tables: CollectionTables, encoding: int, result: Encoded) -> None:
    """Write the vectors of passages."""
    if result.dense is not None:
        vectors.copy_dense(tables, encoding, result.passages, result.dense)
    vectors.copy(tables, encoding, result.passages, result.tokens)


def required_encoder(work: Work, missing: int) -> CollectionEncoder:
    """Return the encoder. Raises IndexNotBuiltError if there is none."""
    if work.encoder is None:
        msg = (
            f"{missing} passages of collection {work.collection.name!r} have no vectors to train on, and no encoder to "
            "compute them; open it with get_collection(name, encoder=…), or change the encoder by rebuild(encoder=…)"
        )
        raise IndexNotBuiltError(msg)
    return work.encoder
