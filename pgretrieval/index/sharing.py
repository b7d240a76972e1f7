"""Encoding and coding of a build in parts, which any number of processes claim from the database.

A part is claimed by deleting its row in the transaction that writes its result. So the claim of a killed process ends with its
connection, and another process takes the part. Parts are planned once, so that codes do not depend on who computes them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from contextvars import copy_context
from typing import TYPE_CHECKING

import numpy as np

from pgretrieval.db.connection import Connection, Database
from pgretrieval.db.handles import CollectionTables, IndexTables
from pgretrieval.db.tables import codes, collections, parts, passages, rebuilds, vectors
from pgretrieval.db.tables.collections import CollectionRow
from pgretrieval.db.tables.parts import Left, Part
from pgretrieval.db.tables.rebuilds import Rebuild
from pgretrieval.encode.base import CollectionEncoder
from pgretrieval.index.coding import Coder, load_coder, write_coded
from pgretrieval.index.encoding import encoded, write_encoded
from pgretrieval.index.ingest import BATCH
from pgretrieval.index.work import VALUES_AT_ONCE, Stage, Work, ranges
from pgretrieval.types import CodebookId

if TYPE_CHECKING:
    import torch

    from pgretrieval.index.build_workers import BuildWorkers

POLLED_SECONDS = 0.2

_Write = Callable[[CollectionTables], None]


def _nothing(*_: object) -> None:
    """Write or report nothing."""


class PartTaker:
    """Takes parts of builds of one collection. It keeps the coder of the latest codebook."""

    def __init__(self) -> None:
        self._held: tuple[CodebookId, Coder] | None = None

    def coder(self, work: Work, codebook_id: CodebookId) -> Coder:
        """Return the coder of a codebook of the collection."""
        if self._held is None or self._held[0] != codebook_id:
            self._held = codebook_id, load_coder(work.tables.index(codebook_id), work.device, work.collection.scoring)
        return self._held[1]

    def take(self, work: Work, before_each: Callable[[], object] = _nothing) -> int:
        """Take parts until none is free; return their number.

        The next part is read and computed while the previous one is written. Each has its own connection.
        """
        taken = 0
        with ThreadPoolExecutor(1, thread_name_prefix="pgretrieval-write") as writer:
            written: Future[None] | None = None
            while True:
                before_each()
                with ExitStack() as claiming:
                    tables = work.collection.tables(claiming.enter_context(work.database.locking(work.doing)))
                    part = parts.claim(tables, work.making.encoding, texts=work.encoder is not None)
                    if part is None:
                        break
                    write = self._computed(work, part)
                    if written:
                        written.result()
                    written = writer.submit(copy_context().run, _finish, claiming.pop_all(), tables, write)
                taken += 1
            if written:
                written.result()
        return taken

    def _computed(self, work: Work, part: Part) -> _Write:
        """Compute a part; return the function that writes it."""
        if part.codebook_id is None:
            batch = passages.without_vectors(work.tables, part.encoding, BATCH, part.first, part.last)
            if not batch:
                return _nothing
            result = encoded(work, batch)
            return lambda tables: write_encoded(tables, part.encoding, result)
        codebook_id = part.codebook_id
        missing = codes.uncoded_between(work.tables.index(codebook_id), part.encoding, part.first, part.last)
        ids, tokens = vectors.read(work.tables, part.encoding, missing)
        if not len(ids):
            return _nothing
        coded = self.coder(work, codebook_id).code(ids, tokens)
        return lambda tables: write_coded(tables.index(codebook_id), coded)


def _finish(claiming: ExitStack, tables: CollectionTables, write: _Write) -> None:
    """Write a part and commit."""
    with claiming:
        write(tables)


class Helper:
    """Takes parts of whichever build of a collection another process leads.

    It encodes only with an encoder that both processes know by name, and leaves all to others if row-level security hides passages.
    """

    def __init__(
        self,
        database: Database,
        connection: Connection,
        row: CollectionRow,
        encoder: CollectionEncoder | None,
        device: torch.device,
    ) -> None:
        self._database = database
        self._connection = connection
        self._row = row
        self._encoder = encoder
        self._device = device
        self._taker = PartTaker()
        self._sees_all = False

    def help(self, before_each: Callable[[], object] = _nothing) -> int:
        """Take parts until none is free; return their number."""
        tables = self._row.tables(self._connection)
        making = rebuilds.find(tables)
        if making is None or making.switched or not parts.left_of_any(tables).parts:
            return 0
        row = collections.find(self._database, self._row.name)
        if row.identity != self._row.identity:
            raise collections.dropped(self._row.collection_id)
        self._sees_all = self._sees_all or not collections.state(tables).restricted
        if not self._sees_all:
            return 0
        wanted = row.encoder if making.encoder is None else making.encoder
        encoder = self._encoder
        if encoder is not None and (encoder.spec != wanted or encoder.spec.get("kind") == "object"):
            encoder = None
        work = Work(self._database, self._connection, row, making, encoder, self._device, _nothing)
        return self._taker.take(work, before_each)


class Joining:
    """Work of a call while another process builds the collection: it takes parts of that build, or has `workers` take them.

    `joined` is that build, as last seen.
    """

    def __init__(self, helper: Helper, tables: CollectionTables, workers: BuildWorkers | None, stage: Stage) -> None:
        self.joined: Rebuild | None = None
        self._helper = helper
        self._tables = tables
        self._workers = workers
        self._stage = stage
        self._most = 0

    def help(self) -> None:
        """Take the parts that are free, then wait for a moment."""
        self.joined = rebuilds.find(self._tables) or self.joined
        _take_or_tend(self._report(), self._workers, lambda: self._helper.help(self._report))

    def _report(self) -> int:
        left = parts.left_of_any(self._tables)
        self._most = max(self._most, left.passages)
        self._stage("help", self._most - left.passages, self._most)
        return left.parts


def encode_texts(work: Work, taker: PartTaker, workers: BuildWorkers | None) -> None:
    """Encode all passages without vectors of the new generation, and those added meanwhile."""
    if not work.encodes:
        return
    if workers is not None and not workers.encode:
        workers = None
    while True:
        parts.plan_texts(work.tables, work.making.encoding, BATCH)
        if not parts.left(work.tables, work.making.encoding, None).parts:
            return
        _work_off(work, taker, workers, "encode", None)


def code_vectors(work: Work, index: IndexTables, taker: PartTaker, workers: BuildWorkers | None) -> None:
    """Code all passages that have vectors: the parts that an interrupted build left, then the others."""
    encoding = work.making.encoding
    parts.forget_others(work.tables, encoding, index.codebook_id)
    if parts.left(work.tables, encoding, index.codebook_id).parts:
        _work_off(work, taker, workers, "code", index.codebook_id)
    staged, lengths = vectors.staged(work.tables, encoding, work.making.dim)
    missing = np.flatnonzero(~np.isin(staged, codes.coded(index)))
    planned = ranges(lengths[missing], VALUES_AT_ONCE // work.making.dim)
    ids = staged[missing]
    parts.plan_codes(index, encoding, [(int(ids[start]), int(ids[end - 1]), end - start) for start, end in planned])
    _work_off(work, taker, workers, "code", index.codebook_id)


def _work_off(work: Work, taker: PartTaker, workers: BuildWorkers | None, name: str, codebook_id: CodebookId | None) -> None:
    """Take the parts of a stage, or have workers take them, until all are written."""
    total = collections.state(work.tables).passages

    def report() -> Left:
        left = parts.left(work.tables, work.making.encoding, codebook_id)
        work.stage(name, max(total - left.passages, 0), total)
        return left

    while left := report().parts:
        _take_or_tend(left, workers, lambda: taker.take(work, report))


def _take_or_tend(left: int, workers: BuildWorkers | None, take: Callable[[], int]) -> None:
    """Take parts, or have workers take them; wait for a moment if none was taken, as when others are at the last."""
    if workers is not None and left > 1:
        workers.tend(left)
    elif left and take():
        return
    time.sleep(POLLED_SECONDS)
