"""Taking passages in: check, encode, and write them with their vectors or, once there is an index, with their codes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple, TypeAlias, TypeVar

from pgretrieval.db import catalog, codes, passages, vectors
from pgretrieval.db.connection import Connection, Database
from pgretrieval.db.joining import Joined
from pgretrieval.db.metadata import same
from pgretrieval.db.selection import array_of
from pgretrieval.errors import ConflictError, DimensionMismatchError, DuplicateIdError, EncoderChangedError, PassageNotFoundError
from pgretrieval.index.coding import Coders, write_segment
from pgretrieval.index.sources import VectorSource
from pgretrieval.index.vectors import check_counts, no_tokens, token_matrix
from pgretrieval.types import AddReport, CollectionId, Float32Array, OnConflict, Passage, Restriction, TokenMatrix

BATCH = 512  # passages checked, encoded and written together: some hundred megabytes at 1,024 dimensions
_ATTEMPTS = 10  # to write a batch whose ids others add at the same time
_SHOWN = 5  # duplicate ids that an error names


Item = TypeVar("Item")

Change: TypeAlias = tuple[str, Callable[[Passage], Passage]]
"""The id of a passage, and what makes its new form of the stored one."""


class Written(NamedTuple):
    """What one batch stored, and how many of its passages turned out to be there already."""

    passages: int
    tokens: int
    skipped: int


@dataclass(frozen=True, slots=True)
class Target:
    """The collection that passages go to, which of its encoders their vectors are of, and what codes them."""

    database: Database
    collection_id: CollectionId
    name: str
    encoding: int
    coders: Coders


def add(
    target: Target,
    source: Iterable[Passage],
    vector_source: VectorSource,
    on_conflict: OnConflict = "error",
    joined: Joined | None = None,
) -> AddReport:
    """Store passages with their token vectors, in one transaction, `joined` or of its own: all of them or none.

    While a batch is written, the next one is encoded. With "update" passages replace those of the same id, and what they have in
    common with these is not encoded again; with "skip" these stay. Raises InputError, DuplicateIdError, VectorError,
    DimensionMismatchError, EncoderError, ConflictError, and DatabaseUnavailableError where the connection is lost, after which the
    same call can be made again.
    """
    seen: set[str] = set()
    with _intake(target, vector_source, on_conflict, joined) as intake:
        for batch in batches(source, BATCH):
            first = _first_of_each(batch, seen, on_conflict)
            held = {} if on_conflict == "error" else intake.existing([passage.id for passage in batch])
            intake.take(batch, first, held)
    return intake.report


def update(
    target: Target,
    changes: Iterable[Change],
    vector_source: VectorSource,
    joined: Joined | None = None,
) -> AddReport:
    """`add` with "update" for passages that are there, of which a change may tell a part. Raises PassageNotFoundError, too."""
    seen: set[str] = set()
    with _intake(target, vector_source, "update", joined) as intake:
        for changed in batches(changes, BATCH):
            held = intake.existing([key for key, _ in changed])
            missing = [key for key, _ in changed if key not in held]
            if missing:
                msg = (
                    f"ids are not in collection {target.name!r}: {_shown(missing)}. Nothing of this call was stored; add them, or "
                    'use add(…, on_conflict="update") for what may be new'
                )
                raise PassageNotFoundError(msg)
            batch = [apply(held[key]) for key, apply in changed]
            intake.take(batch, _first_of_each(batch, seen, "update"), held)
    return intake.report


def remove(target: Target, restriction: Restriction, joined: Joined | None = None) -> int:
    """Delete the passages of a restriction, in one transaction, `joined` or of its own; how many there were."""
    with target.database.writing(f"deleting from collection {target.name!r}", joined) as connection:
        catalog.lock_for_change(connection, target.collection_id)
        return passages.remove(connection, target.collection_id, restriction)


@contextmanager
def _intake(target: Target, source: VectorSource, on_conflict: OnConflict, joined: Joined | None) -> Iterator[_Intake]:
    doing = f"adding to collection {target.name!r}"
    with (
        target.database.writing(doing, joined) as connection,
        ThreadPoolExecutor(1, thread_name_prefix="pgretrieval-write") as server,
    ):
        intake = _Intake(target, source, on_conflict, connection, server)
        yield intake
        intake.finish()


class _Intake:
    """One call: batches are sorted out and encoded here, and written by a thread that has the connection to itself."""

    def __init__(
        self,
        target: Target,
        source: VectorSource,
        on_conflict: OnConflict,
        connection: Connection,
        server: ThreadPoolExecutor,
    ) -> None:
        self._target = target
        self._source = source
        self._on_conflict = on_conflict
        self._connection = connection
        self._server = server
        self._held = catalog.lock_for_change(connection, target.collection_id)
        if self._held.encoding != target.encoding:
            raise EncoderChangedError(target.name)
        self._written: Future[Written] | None = None
        self.report = AddReport(0, 0, 0)

    def existing(self, keys: Sequence[str]) -> dict[str, Passage]:
        """Those of the ids that the collection holds."""
        return self._server.submit(passages.existing, self._connection, self._target.collection_id, keys).result()

    def take(self, batch: Sequence[Passage], first: Sequence[int], held: Mapping[str, Passage]) -> None:
        """Encode and write what is new of a batch; `first` are the positions that count, `held` is what is stored for its ids."""
        anew, relabelled = self._sorted_out(batch, first, held)
        taken = self._source.take(batch, anew, self._held.dim)
        updated = len(relabelled) + sum(batch[position].id in held for position in anew)
        skipped = len(batch) - len(anew) - len(relabelled)
        self._count(passages=len(relabelled), truncated=taken.truncated, updated=updated, skipped=skipped)
        if anew:
            tokens = (
                token_matrix(taken.arrays, unit=self._target.coders.scoring.unit_vectors) if taken.arrays else no_tokens(len(anew))
            )
            check_counts(tokens, [batch[position].id for position in anew], self._held.vectors_per_passage)
            self._wait()
            if taken.arrays:
                self._settle(tokens.vectors.shape[1], taken.dense)
            self._written = self._server.submit(self._write, [batch[position] for position in anew], tokens, taken.dense)
        if relabelled:
            changed = [batch[position] for position in relabelled]
            self._server.submit(passages.set_metadata, self._connection, self._target.collection_id, changed).result()

    def finish(self) -> None:
        """Wait for the last batch."""
        self._wait()
        self._source.finish()

    def _sorted_out(
        self, batch: Sequence[Passage], first: Sequence[int], held: Mapping[str, Passage]
    ) -> tuple[list[int], list[int]]:
        """Positions of what is written anew, and of what differs from the stored in its metadata alone."""
        if self._on_conflict == "skip":
            return [position for position in first if batch[position].id not in held], []
        if self._source.given or self._source.given_dense:
            return list(first), []
        anew, relabelled = [], []
        for position in first:
            passage, there = batch[position], held.get(batch[position].id)
            if there is None or (passage.title, passage.text) != (there.title, there.text):
                anew.append(position)
            elif not same(passage.metadata, there.metadata):
                relabelled.append(position)
        return anew, relabelled

    def _wait(self) -> None:
        if self._written:
            written, self._written = self._written.result(), None
            self._count(passages=written.passages, tokens=written.tokens, skipped=written.skipped)

    def _count(self, passages: int = 0, tokens: int = 0, truncated: int = 0, updated: int = 0, skipped: int = 0) -> None:
        counted = self.report
        self.report = AddReport(
            counted.passages + passages,
            counted.tokens + tokens,
            counted.truncated + truncated,
            counted.updated + updated,
            counted.skipped + skipped,
        )

    def _write(self, batch: list[Passage], tokens: TokenMatrix, dense: Float32Array | None) -> Written:
        """One batch; what another transaction was faster with is looked at again where that is no error."""
        if self._on_conflict == "error":
            self._refuse_stored(batch)
            return self._store(batch, tokens, dense)
        for _ in range(_ATTEMPTS):
            kept = self._make_room(batch)
            part = batch, tokens, dense
            if len(kept) < len(batch):
                part = [batch[position] for position in kept], tokens.some(kept), None if dense is None else dense[kept]
            try:
                with self._connection.transaction():
                    written = self._store(*part) if kept else Written(0, 0, 0)
            except DuplicateIdError:
                continue
            return written._replace(skipped=len(batch) - len(kept))
        msg = (
            f"other transactions kept adding the same ids to collection {self._target.name!r}: {_shown([p.id for p in batch])}. "
            "Nothing of this call was stored; do the same again"
        )
        raise ConflictError(msg)

    def _make_room(self, batch: Sequence[Passage]) -> list[int]:
        """Positions of the passages to store: all, after those of the same id are removed, or those that are not there."""
        keys = [passage.id for passage in batch]
        where = self._connection, self._target.collection_id
        there = passages.existing(*where, keys)
        if self._on_conflict == "update":
            if there:
                passages.remove(*where, Restriction(None, *array_of(list(there))))
            return list(range(len(batch)))
        return [position for position, key in enumerate(keys) if key not in there]

    def _store(self, batch: Sequence[Passage], tokens: TokenMatrix, dense: Float32Array | None) -> Written:
        """Passages, and their vectors and, once there is an index, codes, proxies and one segment of postings."""
        connection, collection_id, held = self._connection, self._target.collection_id, self._held
        passage_ids = passages.reserve_ids(connection, collection_id, len(batch))
        passages.copy(connection, collection_id, passage_ids, batch, tokens.lengths)
        if len(tokens.vectors) and (held.keep_vectors or held.codebook_id is None):
            vectors.copy(connection, collection_id, held.encoding, passage_ids, tokens)
        if dense is not None:
            vectors.copy_dense(connection, collection_id, held.dense_encoding, passage_ids, dense)
        if held.codebook_id is not None:
            coded = self._target.coders.get(connection, held.codebook_id).code(passage_ids, tokens, measured=True)
            write_segment(connection, collection_id, held.codebook_id, coded, self._target.coders.scoring)
            codes.index_words(connection, collection_id, passage_ids)
        return Written(len(batch), len(tokens.vectors), 0)

    def _refuse_stored(self, batch: Sequence[Passage]) -> None:
        there = passages.existing(self._connection, self._target.collection_id, [passage.id for passage in batch])
        if there:
            msg = (
                f"ids are in collection {self._target.name!r} already: {_shown(list(there))}. Nothing of this call was stored; "
                'leave them out, give the new passages other ids, or say on_conflict="update" or "skip"'
            )
            raise DuplicateIdError(msg)

    def _settle(self, width: int, dense: Float32Array | None) -> None:
        """Write down what this call decides for the collection: dimensions and encoder, if it is the first, and given vectors."""
        held, source, name = self._held, self._source, self._target.name
        dense_width = None if dense is None else dense.shape[1]
        given, given_dense = held.given_vectors or source.given, held.given_dense or source.given_dense
        settled = held._replace(
            dim=held.dim or width, given_vectors=given, dense_dim=held.dense_dim or dense_width, given_dense=given_dense
        )
        if settled != held:
            held = self._held = catalog.settle(
                self._connection, self._target.collection_id, width, source.spec, given, dense_width, given_dense
            )
        if width != held.dim:
            msg = f"{source} has {width} dimensions, collection {name!r} has {held.dim}"
            raise DimensionMismatchError(msg)
        if dense_width is not None and dense_width != held.dense_dim:
            msg = f"dense vectors have {dense_width} dimensions, those of collection {name!r} have {held.dense_dim}"
            raise DimensionMismatchError(msg)


def not_yet_added(target: Target, batch: Sequence[Passage]) -> list[Passage]:
    """Those of the passages that the collection does not hold; for taking up an interrupted load.

    Raises DuplicateIdError where it holds an id with another title, text or metadata.
    """
    with target.database.connection(f"reading collection {target.name!r}") as connection:
        there = passages.existing(connection, target.collection_id, [passage.id for passage in batch])
    different = [passage.id for passage in batch if not _alike(passage, there.get(passage.id, passage))]
    if different:
        msg = (
            f"ids are in collection {target.name!r} already, with other content: {_shown(different)}. Give these passages "
            "other ids, or replace the stored ones (--update)"
        )
        raise DuplicateIdError(msg)
    return [passage for passage in batch if passage.id not in there]


def _alike(one: Passage, other: Passage) -> bool:
    return (one.title, one.text) == (other.title, other.text) and same(one.metadata, other.metadata)


def batches(source: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Lists of `size` items, the last one shorter."""
    items = iter(source)
    while batch := list(islice(items, size)):
        yield batch


def _first_of_each(batch: Sequence[Passage], seen: set[str], on_conflict: OnConflict) -> list[int]:
    """Positions of the ids that did not come before; one that did is an error unless conflicts are skipped."""
    first, repeated = [], []
    for position, passage in enumerate(batch):
        if passage.id in seen:
            repeated.append(passage.id)
        else:
            first.append(position)
        seen.add(passage.id)
    if repeated and on_conflict != "skip":
        msg = f"ids occur twice in this call: {_shown(repeated)}. Nothing of it was stored; give each passage its own id"
        raise DuplicateIdError(msg)
    return first


def _shown(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - _SHOWN} more" if len(ids) > _SHOWN else ""
    return ", ".join(repr(key) for key in ids[:_SHOWN]) + more
