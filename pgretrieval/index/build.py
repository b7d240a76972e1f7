"""Build of the index: train a codebook and a proxy model on a sample, code every passage, index, switch over.

A first build and a rebuild are the same: the new index is written beside the one in use, while passages are added, changed and
deleted. Each stage commits before the next begins, so that an interrupted build resumes.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, nullcontext
from contextvars import copy_context
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from pgretrieval.db import cancelling, plans
from pgretrieval.db.connection import Connection, Database
from pgretrieval.db.handles import CollectionTables, IndexTables
from pgretrieval.db.tables import codebooks, codes, collections, parts, proxies, rebuilds, vectors
from pgretrieval.db.tables.codes import Postings
from pgretrieval.db.tables.collections import CollectionRow, State
from pgretrieval.db.tables.rebuilds import Rebuild
from pgretrieval.encode.base import CollectionEncoder
from pgretrieval.errors import EncoderChangedError, IndexNotBuiltError, SchemaError
from pgretrieval.index.build_workers import BuildWorkers, Processes
from pgretrieval.index.coding import centroid_passage_pairs, merged, posting_codes_of, postings_of
from pgretrieval.index.encoding import index_dense, required_encoder
from pgretrieval.index.sharing import Helper, Joining, PartTaker, code_vectors, encode_texts
from pgretrieval.index.switching import drop_replaced, switch
from pgretrieval.index.training import GROWTH_THAT_RETRAINS, train
from pgretrieval.index.work import VALUES_AT_ONCE, Stage, Work, doing, ranges
from pgretrieval.numerics.bitpack import packed_width
from pgretrieval.numerics.proxy_model import RANK
from pgretrieval.types import CodebookId, Int32Array, Int64Array

_POLLED_SECONDS = 0.5
_ROUNDS_BEFORE_POSTINGS = 5
_CODES_AT_ONCE = 2**28  # bytes of residuals that are sorted by centroid at once
_LEFT_TO_SEGMENTS = 512  # passages that are left to be written as segments


@dataclass(frozen=True, slots=True)
class BuildReport:
    """Result of a build.

    Attributes:
        passages: Passages under the active codebook.
        tokens: Their token vectors.
        centroids: Centroids of the codebook.
        built: True if an index was built, False if the existing one was sufficient.
        slow_plans: Tables that a search would scan instead of using an index; normally empty.
    """

    passages: int
    tokens: int
    centroids: int
    built: bool
    slow_plans: list[str] = field(default_factory=list)


def build(
    database: Database,
    collection: CollectionRow,
    encoder: CollectionEncoder | None,
    stage: Stage | None = None,
    device: torch.device | None = None,
    *,
    anew: bool = False,
    changes_encoder: bool = False,
    processes: Processes | None = None,
) -> BuildReport:
    """Train, code and switch over, while searches and changes continue.

    An interrupted build resumes after its last committed stage, encoding and coding after the last committed part. While another
    process builds the collection, this one takes parts of that build. Unless `anew`, a built collection is unchanged until it has
    more than twice the tokens its codebook was trained for. `encoder` computes vectors that are not stored; with `changes_encoder`
    it computes all and becomes the collection's encoder. `processes` encode and code instead of this one. Raises IndexNotBuiltError
    without vectors and texts to build from, EncoderChangedError if the encoder is not the one in `collection`, SchemaError if
    row-level security hides passages from the role, BuildWorkerError if a worker process ends again and again.
    """
    device, stage = device or torch.device("cpu"), _cancellable(stage)
    with database.dedicated(doing(collection)) as connection, _started(processes, database, collection, encoder) as workers:
        tables = collection.tables(connection)
        joining = Joining(Helper(database, connection, collection, encoder, device), tables, workers, stage)
        with rebuilds.exclusively(database, doing(collection), collection.collection_id, joining.help) as lock:
            state = collections.state(tables)
            _check(collection, state, changes_encoder=changes_encoder)
            current = collections.find(database, collection.name)
            making = rebuilds.find(tables)
            wanted = _required(current, state, encoder if changes_encoder else None)
            if making and making.switched:
                work = Work(database, connection, current, making, encoder, device, stage)
                drop_replaced(work, tables.index(_active(state)))
                if anew and _makes_the_same(making, wanted):
                    return _report(tables, built=True)
                making = None
            joined = joining.joined
            if anew and joined and joined.codebook_id == state.codebook_id and _makes_the_same(joined, wanted):
                return _report(tables, built=True)
            if not anew and _is_sufficient(tables, state, encoder):
                return _report(tables, built=False)
            if not state.passages:
                msg = f"collection {collection.name!r} is empty; add passages, then build"
                raise IndexNotBuiltError(msg)
            making = _resume_or_begin(tables, current, making, wanted)
            return _build(Work(database, connection, current, making, encoder, device, stage), lock, workers)


def _started(
    processes: Processes | None, database: Database, collection: CollectionRow, encoder: CollectionEncoder | None
) -> AbstractContextManager[BuildWorkers | None]:
    """Return the worker processes, if there are to be any."""
    if processes is None:
        return nullcontext()
    return BuildWorkers(processes, database, collection, encoder, torch.get_num_threads())


def _check(collection: CollectionRow, state: State, *, changes_encoder: bool) -> None:
    """Raise an error unless the collection is the one that was opened, with its encoder, and the role sees all passages."""
    if state.identity != collection.identity:
        raise collections.dropped(collection.collection_id)
    if state.restricted:
        msg = (
            f"row-level security hides passages of collection {collection.name!r} from this role, so their codes and postings "
            "would be lost; build as the owner of the schema, not forced to follow policies, or as a role with BYPASSRLS"
        )
        raise SchemaError(msg)
    if not changes_encoder and state.encoding != collection.encoding:
        raise EncoderChangedError(collection.name)


def _cancellable(stage: Stage | None) -> Stage:
    """`stage`, and a check at each step whether the call was cancelled, since training waits for no server."""

    def step(name: str, done: int, total: int) -> None:
        cancelling.check()
        if stage is not None:
            stage(name, done, total)

    return step


def _active(state: State) -> CodebookId:
    return state.codebook_id or CodebookId(0)


def _required(collection: CollectionRow, state: State, changed: CollectionEncoder | None) -> Rebuild:
    """Return the rebuild to make: of the stored vectors if all are stored, else of vectors computed from texts."""
    if changed is not None:
        return Rebuild(changed.spec, changed.dim, collection.encoding + 1, vectors_per_passage=changed.vectors_per_passage)
    complete = state.staged >= state.passages
    encoding = collection.encoding if complete else collection.encoding + 1
    return Rebuild(None, collection.dim or 1, encoding, vectors_per_passage=collection.vectors_per_passage)


def _is_sufficient(tables: CollectionTables, state: State, encoder: CollectionEncoder | None) -> bool:
    """Return whether the active codebook can stay, or has to because no encoder can recompute vectors."""
    if state.codebook_id is None:
        return False
    trained = codebooks.trained_for(tables.index(state.codebook_id))
    untrainable = encoder is None and state.staged < state.passages
    return state.tokens <= GROWTH_THAT_RETRAINS * trained.tokens or untrainable


def _makes_the_same(first: Rebuild, other: Rebuild) -> bool:
    return (first.encoder, first.dim, first.vectors_per_passage) == (other.encoder, other.dim, other.vectors_per_passage)


def _resume_or_begin(tables: CollectionTables, collection: CollectionRow, found: Rebuild | None, wanted: Rebuild) -> Rebuild:
    """Return the interrupted rebuild if it makes the same index; else begin a new one and drop the other's data."""
    if found is not None and _makes_the_same(found, wanted):
        return found
    if found is not None and wanted.encoding != collection.encoding:
        wanted = replace(wanted, encoding=found.encoding + 1)  # distinguishes new vectors from those of the abandoned rebuild
    parts.forget_others(tables, wanted.encoding, None)
    rebuilds.begin(tables, wanted)
    rebuilds.drop_replaced(tables)
    return wanted


def _report(tables: CollectionTables, *, built: bool, slow_plans: list[str] | None = None) -> BuildReport:
    state = collections.state(tables)
    centroids = codebooks.trained_for(tables.index(_active(state))).centroids
    return BuildReport(state.passages, state.tokens, centroids, built, slow_plans or [])


def _build(work: Work, lock: Connection, workers: BuildWorkers | None) -> BuildReport:
    """Run the stages in order."""
    connection, taker = work.connection, PartTaker()
    if work.encodes:
        if work.encoder is None:
            state = collections.state(work.tables)
            required_encoder(work, state.passages - state.staged)
        index_dense(work)
        encode_texts(work, taker, workers)
    collections.analyze(connection, work.collection_id, "passage", "token_vector")
    index = work.tables.index(train(work))
    coder = taker.coder(work, index.codebook_id)
    _code_all(work, index, taker, workers)
    if workers is not None:
        workers.stop()
    with (
        work.database.dedicated(work.doing) as writing,
        ThreadPoolExecutor(1, thread_name_prefix="pgretrieval-index") as indexer,
    ):
        indexed = indexer.submit(copy_context().run, _index_vectors, work, index.over(writing))
        _write_postings(work, index, len(coder.codebook.centroids))
        _index(work, index, indexed)
    switch(work, index, coder, lock)
    drop_replaced(work, index)
    slow = plans.slow_plans(index, RANK if work.wants_proxies else None)
    return _report(work.tables, built=True, slow_plans=slow)


def _code_all(work: Work, index: IndexTables, taker: PartTaker, workers: BuildWorkers | None) -> None:
    """Code all passages, and those added meanwhile, until few are left. Does nothing once postings exist."""
    if codes.has_postings(index):
        return
    for _ in range(_ROUNDS_BEFORE_POSTINGS):
        code_vectors(work, index, taker, workers)
        if len(codes.uncoded(index)) <= _LEFT_TO_SEGMENTS:
            break
        encode_texts(work, taker, workers)


def _write_postings(work: Work, index: IndexTables, centroids: int) -> None:
    """Write postings of all coded passages from their codes, and postings of words, in one transaction."""
    if codes.has_postings(index):
        return
    coded = np.sort(codes.coded(index))
    postings = None if work.collection.scoring.by_tokens else _postings(work, index, coded, centroids)
    with index.connection.transaction():
        if postings:
            codes.copy_postings(index, 0, postings)
        else:
            _copy_posting_codes(work, index, coded, centroids)
        if work.writes_words:
            work.stage("words", 0, 1)
            mean = codes.index_first_words(index, coded, 0, None)
            rebuilds.words_written(index, mean)
            work.stage("words", 1, 1)
    work.stage("postings", len(coded), len(coded))


def _postings(work: Work, index: IndexTables, coded: Int32Array, centroids: int) -> Postings:
    """Return the posting lists of all centroids."""
    pairs: list[Int64Array] = [np.empty(0, dtype=np.int64)]
    at_once = max(1, VALUES_AT_ONCE // 2048)
    for start in range(0, len(coded), at_once):
        work.stage("postings", start, len(coded))
        ids, offsets, centroid_ids = codes.read_centroid_ids(index, coded[start : start + at_once], centroids)
        pairs.append(centroid_passage_pairs(centroid_ids, offsets, ids))
    return postings_of(np.concatenate(pairs))


def _copy_posting_codes(work: Work, index: IndexTables, coded: Int32Array, centroids: int) -> None:
    """Write the tokens of each centroid, for as many centroids at a time as fit in memory; each pass reads all passages."""
    if not len(coded):
        return
    starts = range(0, len(coded), max(1, VALUES_AT_ONCE // 16_384))
    batches = [coded[start : start + starts.step] for start in starts]
    sizes = np.zeros(1, dtype=np.int64)
    for batch in batches:
        counted = np.bincount(codes.read_centroid_ids(index, batch, centroids)[2])
        sizes = np.pad(sizes, (0, max(0, len(counted) - len(sizes))))
        sizes[: len(counted)] += counted
    width = packed_width(work.making.dim, work.collection.bits)
    spans = ranges(sizes, _CODES_AT_ONCE // width)
    for number, (first, end) in enumerate(spans):
        found = []
        for place, batch in enumerate(batches):
            work.stage("postings", (number * len(batches) + place) * len(coded) // (len(spans) * len(batches)), len(coded))
            ids, offsets, centroid_ids, residuals = codes.read_codes(index, batch, centroids, width)
            found.append(posting_codes_of(centroid_ids, offsets, ids, residuals, first, end))
        codes.copy_posting_codes(index, 0, merged(found))
    if not work.collection.scoring.codes_by_passage:
        codes.forget_codes_by_passage(index)


def _index(work: Work, index: IndexTables, indexed: Future[None]) -> None:
    """Report the progress of the vector indexes until they are made, then have tables analysed."""
    rows = len(codes.coded(index)) if work.wants_proxies else 1
    work.stage("index", 0, rows)
    while wait([indexed], _POLLED_SECONDS).not_done:
        work.stage("index", min(plans.index_rows_done(index), rows), rows)
    indexed.result()
    collections.analyze(work.connection, work.collection_id, "centroid", work.collection.scoring.postings, "word_posting")
    collections.vacuum(work.connection, work.collection_id, "passage", "token_code")  # so that index-only scans skip the heap
    work.stage("index", rows, rows)


def _index_vectors(work: Work, index: IndexTables) -> None:
    """Create vector indexes over a second connection, while postings are written over the first."""
    with index.connection.transaction():
        codebooks.index_centroids(index)
        if work.wants_proxies:
            proxies.index(index)
        if work.collection.keeps_dense and not work.makes_dense:
            vectors.index_dense(index, work.collection.dense_encoding, work.collection.dense_dim)
