"""Training of a codebook and a proxy model on a sample."""

from __future__ import annotations

import numpy as np

from pgretrieval.db.tables import codebooks, proxies, rebuilds, vectors
from pgretrieval.db.wire import offsets_of
from pgretrieval.errors import IndexNotBuiltError
from pgretrieval.index.coding import row_from_codebook, row_from_proxy_model
from pgretrieval.index.work import VALUES_AT_ONCE, Work, ranges
from pgretrieval.numerics.codebook import Codebook, held_out, train_codebook
from pgretrieval.numerics.kmeans import centroid_count, sample_passage_count
from pgretrieval.numerics.proxy_training import train_proxy
from pgretrieval.types import CodebookId, Float32Array, Int32Array, Int64Array, TokenMatrix

GROWTH_THAT_RETRAINS = 2.0
_TRAINING_TOKENS_PER_CENTROID = 64
TRAINING_VALUES_AT_MOST = 2**28  # 1 GiB of sample: 2.1 million tokens of 128 dimensions
_SEED = 0


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
    at_most = min(at_most, TRAINING_VALUES_AT_MOST // dim)
    order = np.random.default_rng(_SEED).permutation(len(ids))[: sample_passage_count(len(ids))]
    enough = int(np.searchsorted(np.cumsum(lengths[order]), at_most)) + 1
    chosen, expected = ids[order[:enough]], lengths[order[:enough]]
    sample = np.empty((int(expected.sum()), dim), dtype=np.float32)
    filled, counts = 0, []
    for start, end in ranges(expected, VALUES_AT_ONCE // dim):
        _, part = vectors.read(work.tables, work.making.encoding, chosen[start:end])
        sample[filled : filled + len(part.vectors)] = part.vectors
        counts.append(part.lengths)
        filled += len(part.vectors)
    return TokenMatrix(sample[:filled], offsets_of(np.concatenate(counts)))
