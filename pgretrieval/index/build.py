"""Building the index: train a codebook and a proxy model on a sample, code every passage, index, switch over.

Every stage commits what it made before the next begins, so that a build that is interrupted goes on where it was.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch

from pgretrieval.db import catalog, codebooks, codes, passages, plans, proxies, vectors
from pgretrieval.db.catalog import CollectionRow
from pgretrieval.db.connection import Connection, Database
from pgretrieval.db.wire import offsets_of
from pgretrieval.encode.base import CollectionEncoder
from pgretrieval.errors import IndexNotBuiltError
from pgretrieval.index.coding import (
    Coded,
    centroid_passage_pairs,
    load_coder,
    postings_of,
    row_from_codebook,
    row_from_proxy_model,
    write_coded,
)
from pgretrieval.index.ingest import BATCH
from pgretrieval.index.vectors import token_matrix
from pgretrieval.proxy.model import RANK
from pgretrieval.proxy.training import train_proxy
from pgretrieval.quantize.codebook import train_codebook
from pgretrieval.quantize.kmeans import centroid_count, sample_passage_count
from pgretrieval.types import CodebookId, CollectionId, Int32Array, Int64Array, TokenMatrix

Stage = Callable[[str, int, int], None]
"""Told the stage's name, the units done and the units in all."""

_TRAINING_TOKENS_PER_CENTROID = 64
_TRAINING_VALUES_AT_MOST = 2**28  # 1 GiB of sample: 2.1 million tokens of 128 dimensions
_VALUES_AT_ONCE = 2**24  # read and coded together: 131,072 tokens of 128 dimensions, 64 MiB
_GROWTH_THAT_RETRAINS = 2.0
_POLLED_SECONDS = 0.5
_SEED = 0


@dataclass(frozen=True, slots=True)
class BuildReport:
    """What a build did: passages and tokens under the codebook, its centroids, and whether there was anything to do.

    `slow_plans` names what the server would read whole in a search instead of by an index; it is empty on a sound server.
    """

    passages: int
    tokens: int
    centroids: int
    built: bool
    slow_plans: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Work:
    """What one build works on: the passages whose vectors are staged, ascending, with their tokens, and where it computes.

    `lock` is the connection that keeps adds and other builds away.
    """

    database: Database
    connection: Connection
    lock: Connection
    collection: CollectionRow
    ids: Int32Array
    lengths: Int64Array
    device: torch.device
    stage: Stage

    @property
    def collection_id(self) -> CollectionId:
        """Of the collection."""
        return self.collection.collection_id

    @property
    def tokens(self) -> int:
        """Token vectors in all."""
        return int(self.lengths.sum())

    @property
    def wants_proxies(self) -> bool:
        """Whether the collection asks for proxies; "auto" has postings alone, which measured better."""
        return self.collection.candidates == "proxy"


def build(
    database: Database,
    collection: CollectionRow,
    encoder: CollectionEncoder | None,
    stage: Stage | None = None,
    device: torch.device | None = None,
) -> BuildReport:
    """Train, code and switch over; searches go on meanwhile, adds wait.

    A build that was interrupted continues after its last finished stage, and coding after the last part. A built collection is
    left alone until it has grown to more than twice the tokens its codebook was trained for; then its texts are encoded again and
    a new codebook is trained. Raises IndexNotBuiltError where there is nothing to build from.
    """
    stage = stage or _silent
    device = device or torch.device("cpu")
    doing = f"building collection {collection.name!r}"
    with _alone(database, doing, collection) as lock, database.connection(doing) as connection:
        current = catalog.state(connection, collection.collection_id)
        if current.codebook_id is not None and not current.waiting:
            trained = codebooks.trained_for(connection, current.codebook_id)
            untrainable = encoder is None and current.staged < current.passages
            if current.tokens <= _GROWTH_THAT_RETRAINS * trained.tokens or untrainable:
                return BuildReport(current.passages, current.tokens, trained.centroids, built=False)
        if not current.passages:
            msg = f"collection {collection.name!r} is empty; add passages, then build"
            raise IndexNotBuiltError(msg)
        if current.staged < current.passages:
            _encode_again(connection, collection, encoder, current.passages - current.staged, stage)
        catalog.analyze(connection, collection.collection_id, "passage", "token_vector")
        ids, lengths = vectors.staged(connection, collection.collection_id)
        work = Work(database, connection, lock, collection, ids, lengths, device, stage)
        codebook_id = _train(work, current.codebook_id)
        centroids = _code_all(work, codebook_id)
        _write_postings(work, codebook_id)
        _write_words(work)
        _index(work, codebook_id)
        slow = plans.slow_plans(connection, collection.collection_id, codebook_id, RANK if work.wants_proxies else None)
        return BuildReport(len(ids), work.tokens, centroids, built=True, slow_plans=slow)


def _silent(_name: str, _done: int, _total: int) -> None:
    pass


@contextmanager
def _alone(database: Database, doing: str, collection: CollectionRow) -> Iterator[Connection]:
    """Wait for running adds and other builds, and keep new ones waiting."""
    with database.holding(doing) as connection:
        catalog.lock_for_build(connection, collection.collection_id)
        yield connection


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


def _train(work: Work, active: CodebookId | None) -> CodebookId:
    """A codebook and, where wanted, a proxy model, trained on one sample; those that an interrupted build left are taken."""
    connection, collection = work.connection, work.collection
    found = codebooks.unfinished(connection, work.collection_id, active, collection.bits, len(work.ids), work.tokens)
    if found is not None and (not work.wants_proxies or proxies.load_model(connection, found, collection.dim or 1)):
        return found
    count = centroid_count(work.tokens)
    work.stage("train", 0, 1)
    sample = _sample(work, count * _TRAINING_TOKENS_PER_CENTROID)
    if found is None:
        codebook = train_codebook(
            sample.vectors,
            count,
            collection.bits,
            collection.levels,
            _SEED,
            lambda done, steps: work.stage("train", done, steps),
            work.device,
        )
        with connection.transaction():
            found = codebooks.save(connection, work.collection_id, row_from_codebook(codebook, len(work.ids), work.tokens))
    if work.wants_proxies:
        model = train_proxy(sample, _SEED, work.device, lambda done, steps: work.stage("proxies", done, steps))
        with connection.transaction():
            proxies.save_model(connection, found, row_from_proxy_model(model))
    return found


def _sample(work: Work, at_most: int) -> TokenMatrix:
    """Random passages in random order: as many as the paper takes, or fewer where they hold `at_most` tokens already."""
    at_most = min(at_most, _TRAINING_VALUES_AT_MOST // (work.collection.dim or 1))
    order = np.random.default_rng(_SEED).permutation(len(work.ids))[: sample_passage_count(len(work.ids))]
    enough = int(np.searchsorted(np.cumsum(work.lengths[order]), at_most)) + 1
    chosen, lengths = work.ids[order[:enough]], work.lengths[order[:enough]]
    sample = np.empty((int(lengths.sum()), work.collection.dim or 1), dtype=np.float32)
    filled, counts = 0, []
    for start, end in _parts(lengths, _VALUES_AT_ONCE // sample.shape[1]):
        part = vectors.read(work.connection, work.collection_id, chosen[start:end])
        sample[filled : filled + len(part.vectors)] = part.vectors
        counts.append(part.lengths)
        filled += len(part.vectors)
    return TokenMatrix(sample, offsets_of(np.concatenate(counts)))


def _code_all(work: Work, codebook_id: CodebookId) -> int:
    """Read staged vectors part by part and write codes and proxies, each part committed; returns the codebook's centroids.

    The next part is read and coded while the last one is written, over a connection of its own.
    """
    connection = work.connection
    coder = load_coder(connection, work.collection_id, codebook_id, work.device)
    missing = np.flatnonzero(~np.isin(work.ids, codes.coded(connection, work.collection_id, codebook_id)))
    done = len(work.ids) - len(missing)
    with ThreadPoolExecutor(1, thread_name_prefix="pgretrieval-write") as writer:
        written: Future[None] | None = None
        for start, end in _parts(work.lengths[missing], _VALUES_AT_ONCE // coder.codebook.dim):
            work.stage("code", done + start, len(work.ids))
            ids = work.ids[missing[start:end]]
            coded = coder.code(ids, vectors.read(connection, work.collection_id, ids))
            if written:
                written.result()
            written = writer.submit(_write, work, codebook_id, coded)
        if written:
            written.result()
    work.stage("code", len(work.ids), len(work.ids))
    return len(coder.codebook.centroids)


def _write(work: Work, codebook_id: CodebookId, coded: Coded) -> None:
    with work.database.writing(f"building collection {work.collection.name!r}") as connection:
        write_coded(connection, work.collection_id, codebook_id, coded)


def _write_postings(work: Work, codebook_id: CodebookId) -> None:
    """Postings of all passages, from their stored codes; in one transaction."""
    connection, collection_id = work.connection, work.collection_id
    if codes.has_postings(connection, collection_id, codebook_id):
        return
    pairs: list[Int64Array] = []
    for start, end in _parts(work.lengths, _VALUES_AT_ONCE // 8):
        work.stage("postings", start, len(work.ids))
        ids, offsets, centroid_ids = codes.read_centroid_ids(connection, collection_id, codebook_id, work.ids[start:end])
        pairs.append(centroid_passage_pairs(centroid_ids, offsets, ids))
    with connection.transaction():
        codes.copy_postings(connection, collection_id, codebook_id, 0, *postings_of(np.concatenate(pairs)))
    work.stage("postings", len(work.ids), len(work.ids))


def _write_words(work: Work) -> None:
    """Postings of the words of all passages, in one transaction and on the server alone."""
    work.stage("words", 0, 1)
    with work.connection.transaction():
        codes.index_words(work.connection, work.collection_id)
    work.stage("words", 1, 1)


def _index(work: Work, codebook_id: CodebookId) -> None:
    """Vector indexes, then the switch: one transaction that makes the codebook active and drops all that it replaces."""
    connection, collection_id = work.connection, work.collection_id
    rows = len(work.ids) if work.wants_proxies else 1
    work.stage("index", 0, rows)
    with ThreadPoolExecutor(1, thread_name_prefix="pgretrieval-index") as indexer:
        indexed = indexer.submit(_index_vectors, work, codebook_id)
        while wait([indexed], _POLLED_SECONDS).not_done:
            work.stage("index", min(plans.index_rows_done(connection, codebook_id), rows), rows)
        indexed.result()
    catalog.lock_for_build(work.lock, collection_id)  # still ours, or an add may have come in between
    with connection.transaction():
        proxies.drop_others(connection, collection_id, codebook_id)
        codebooks.activate(connection, collection_id, codebook_id)
        if not work.collection.keep_vectors:
            vectors.clear(connection, collection_id)
    catalog.vacuum(connection, collection_id, "centroid", "passage", "token_code", "token_vector", "posting", "word_posting")
    if work.collection.keeps_dense:
        catalog.vacuum(connection, collection_id, "dense_vector")
    if work.wants_proxies:
        catalog.vacuum(connection, codebook_id, "proxy")
    work.stage("index", rows, rows)


def _index_vectors(work: Work, codebook_id: CodebookId) -> None:
    with work.database.writing(f"indexing collection {work.collection.name!r}") as connection:
        codebooks.index_centroids(connection, work.collection_id, work.collection.dim or 1)
        if work.wants_proxies:
            proxies.index(connection, codebook_id)
        vectors.index_dense(connection, work.collection_id)


def _parts(lengths: Int64Array, tokens: int) -> list[tuple[int, int]]:
    """Runs of passages with about `tokens` tokens each."""
    if not len(lengths):
        return []
    owner = np.cumsum(lengths) // tokens
    edges = [0, *(np.flatnonzero(np.diff(owner)) + 1).tolist(), len(lengths)]
    return list(itertools.pairwise(edges))
