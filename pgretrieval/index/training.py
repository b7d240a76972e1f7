"""First stages of a build: encode passages without vectors, train a codebook and a proxy model on a sample."""

from __future__ import annotations

import numpy as np

from pgretrieval.buckets import PassageIds, buckets_of
from pgretrieval.db.tables import codebooks, collections, passages, proxies, rebuilds, vectors
from pgretrieval.db.wire import offsets_of
from pgretrieval.encode.base import CollectionEncoder
from pgretrieval.errors import IndexNotBuiltError
from pgretrieval.index.coding import row_from_codebook, row_from_proxy_model
from pgretrieval.index.ingest import BATCH
from pgretrieval.index.sources import texts_to_encode
from pgretrieval.index.vectors import check_counts, token_matrix
from pgretrieval.index.work import VALUES_AT_ONCE, Work, parts
from pgretrieval.numerics.codebook import Codebook, held_out, train_codebook
from pgretrieval.numerics.kmeans import centroid_count, sample_passage_count
from pgretrieval.numerics.proxy_training import train_proxy
from pgretrieval.types import CodebookId, Float32Array, Int32Array, Int64Array, Passage, TokenMatrix

GROWTH_THAT_RETRAINS = 2.0
_TRAINING_TOKENS_PER_CENTROID = 64
_TRAINING_VALUES_AT_MOST = 2**28  # 1 GiB of sample: 2.1 million tokens of 128 dimensions
_SEED = 0


def encode_all(work: Work) -> None:
    """Encode passages without vectors of the new generation; each batch is committed."""
    if not work.encodes:
        return
    if work.makes_dense:  # before there are rows: building an index over many blocks adds
        encoder = required_encoder(work, 1)
        _, dense = encoder.encode_document_with_dense(["dimension"])
        _index_dense(work, dense.shape[1])
    state = collections.state(work.tables)
    done = len(_staged(work)[0])
    while batch := next_texts(work):
        work.stage("encode", done, max(done + len(batch), state.passages))
        encode(work, batch)
        done += len(batch)
    work.stage("encode", done, done)


def _index_dense(work: Work, dim: int) -> None:
    with work.connection.transaction():
        if work.collection.codebook_id is not None:
            vectors.index_dense(work.tables, work.collection.dense_encoding, work.collection.dense_dim)
        vectors.index_dense(work.tables, work.making.encoding, dim)


def next_texts(work: Work) -> list[tuple[int, Passage]]:
    """Return a batch of passages without vectors of the new generation."""
    return passages.without_vectors(work.tables, work.making.encoding, BATCH) if work.encodes else []


def encode(work: Work, batch: list[tuple[int, Passage]]) -> None:
    """Encode passages, then write their vectors in one transaction."""
    encoder = required_encoder(work, len(batch))
    ids = PassageIds(
        np.array([passage_id for passage_id, _ in batch], dtype=np.int32),
        buckets_of([passage.id for _, passage in batch], work.collection.buckets),
    )
    texts = texts_to_encode([passage for _, passage in batch])
    arrays, dense = encoder.encode_document_with_dense(texts) if work.makes_dense else (encoder.encode_document(texts), None)
    tokens = token_matrix(arrays, unit=work.collection.scoring.unit_vectors)
    check_counts(tokens, [passage.id for _, passage in batch], work.making.vectors_per_passage)
    with work.connection.transaction():
        if dense is not None:
            vectors.copy_dense(work.tables, work.making.encoding, ids, dense)
        vectors.copy(work.tables, work.making.encoding, ids, tokens)


def required_encoder(work: Work, missing: int) -> CollectionEncoder:
    """Return the encoder. Raises IndexNotBuiltError if there is none."""
    if work.encoder is None:
        msg = (
            f"{missing} passages of collection {work.collection.name!r} have no vectors to train on, and no encoder to "
            "compute them; open it with get_collection(name, encoder=…), or change the encoder by rebuild(encoder=…)"
        )
        raise IndexNotBuiltError(msg)
    return work.encoder


def train(work: Work) -> CodebookId:
    """Train a codebook and, if required, a proxy model on one sample; reuse those of an interrupted build."""
    connection = work.connection
    ids, lengths = _staged(work)
    tokens = int(lengths.sum())
    found = work.making.codebook_id
    if found is not None and tokens > GROWTH_THAT_RETRAINS * codebooks.trained_for(work.tables.index(found)).tokens:
        found = None
    if found is not None and (not work.wants_proxies or proxies.load_model(work.tables.index(found), work.making.dim)):
        return found
    if not len(ids):
        msg = f"collection {work.collection.name!r} is empty; add passages, then build"
        raise IndexNotBuiltError(msg)
    count = centroid_count(tokens)
    work.stage("train", 0, 1)
    sample = _sample(work, ids, lengths, count * _TRAINING_TOKENS_PER_CENTROID)
    if found is None:
        found = _train_codebook(work, sample, count, len(ids), tokens)
    if work.wants_proxies:
        model = train_proxy(sample, _SEED, work.device, lambda done, steps: work.stage("proxies", done, steps))
        with connection.transaction():
            proxies.save_model(work.tables.index(found), row_from_proxy_model(model))
    return found


def _train_codebook(work: Work, sample: TokenMatrix, count: int, passage_count: int, tokens: int) -> CodebookId:
    connection, collection = work.connection, work.collection
    codebook = train_codebook(
        sample.vectors,
        count,
        collection.bits,
        collection.levels,
        _SEED,
        lambda done, steps: work.stage("train", done, steps),
        work.device,
        unit=collection.scoring.unit_vectors,
    )
    row = row_from_codebook(codebook, passage_count, tokens, _error_of(codebook, sample.vectors))
    if collection.codebook_id is not None:
        with connection.transaction():
            codebooks.index_centroids(work.tables.index(collection.codebook_id))
    with connection.transaction():
        found = codebooks.save(work.tables, row)
        rebuilds.trained(work.tables.index(found))
    return found


def _error_of(codebook: Codebook, sample: Float32Array) -> float:
    """Return the quantisation error of held-out vectors, comparable with that of later passages."""
    measured = sample[: held_out(*sample.shape)]
    return codebook.quantization_error(measured, *codebook.encode(measured))


def _staged(work: Work) -> tuple[Int32Array, Int64Array]:
    return vectors.staged(work.tables, work.making.encoding, work.making.dim)


def _sample(work: Work, ids: Int32Array, lengths: Int64Array, at_most: int) -> TokenMatrix:
    """Return random passages in random order: the number of the paper, or fewer if they contain `at_most` tokens."""
    dim = work.making.dim
    at_most = min(at_most, _TRAINING_VALUES_AT_MOST // dim)
    order = np.random.default_rng(_SEED).permutation(len(ids))[: sample_passage_count(len(ids))]
    enough = int(np.searchsorted(np.cumsum(lengths[order]), at_most)) + 1
    chosen, expected = ids[order[:enough]], lengths[order[:enough]]
    sample = np.empty((int(expected.sum()), dim), dtype=np.float32)
    filled, counts = 0, []
    for start, end in parts(expected, VALUES_AT_ONCE // dim):
        _, part = vectors.read(work.tables, work.making.encoding, chosen[start:end])
        sample[filled : filled + len(part.vectors)] = part.vectors
        counts.append(part.lengths)
        filled += len(part.vectors)
    return TokenMatrix(sample[:filled], offsets_of(np.concatenate(counts)))
