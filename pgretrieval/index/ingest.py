"""Ingestion: check passages, encode them, and write them with vectors or, after the first build, codes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from itertools import islice
from typing import NamedTuple, TypeAlias, TypeVar, cast
from uuid import UUID

from pgretrieval.buckets import PassageIds, buckets_of
from pgretrieval.db.connection import Connection, Database
from pgretrieval.db.handles import CollectionTables
from pgretrieval.db.joining import Joined
from pgretrieval.db.metadata import same
from pgretrieval.db.selection import array_of
from pgretrieval.db.tables import codes, collections, passages, vectors
from pgretrieval.db.tables.collections import AddState
from pgretrieval.errors import ConflictError, DimensionMismatchError, DuplicateIdError, EncoderChangedError, PassageNotFoundError
from pgretrieval.index.coding import Coders, write_segment
from pgretrieval.index.sources import EncodedAhead, VectorSource
from pgretrieval.index.spool import Spool
from pgretrieval.index.vectors import check_counts, no_tokens, token_matrix
from pgretrieval.types import AddReport, CollectionId, Float32Array, OnConflict, Passage, Restriction, TokenMatrix

BATCH = 512  # passages of one batch: some hundred megabytes at 1,024 dimensions
_ATTEMPTS = 10  # attempts to write a batch whose ids others add concurrently
_SHOWN = 5  # duplicate ids named in an error


Item = TypeVar("Item")

Change: TypeAlias = tuple[str, Callable[[Passage], Passage]]
"""Id of a passage, and a function from the stored to the changed passage."""

Renew: TypeAlias = Callable[[], tuple[int, VectorSource]]
"""Function that returns encoder generation and vector source after a rebuild changed the encoder."""


@dataclass(frozen=True, slots=True)
class Target:
    """Collection that receives passages, its encoder generation, and its coders."""

    database: Database
    collection_id: CollectionId
    name: str
    encoding: int
    coders: Coders
    identity: UUID

    def tables(self, connection: Connection) -> CollectionTables:
        """Return the handle of the collection's tables over a connection."""
        return CollectionTables(connection, self.collection_id)


class _Prepared(NamedTuple):
    """Batch that is ready to be written.

    `first` are the positions without repeated ids, `held` the stored passages of these ids at that time, `changes` the changes of
    an update. `anew` are positions to write, with their vectors of generation `encoding`; `relabelled` those of which only the
    metadata differ.
    """

    batch: list[Passage]
    changes: list[Change] | None
    first: list[int]
    held: dict[str, Passage]
    anew: list[int]
    relabelled: list[int]
    tokens: TokenMatrix
    dense: Float32Array | None
    truncated: int
    encoding: int

    @property
    def size(self) -> int:
        """Approximate size in bytes."""
        texts = sum(len(passage.text) for passage in self.batch)
        return 2 * texts + self.tokens.vectors.nbytes + (0 if self.dense is None else self.dense.nbytes)


class _OutdatedError(ConflictError):
    """Stored passages changed after a batch was prepared."""

    def __init__(self, places: list[int]) -> None:
        super().__init__("other transactions kept changing the same passages")
        self.places = places


def add(
    target: Target,
    source: Iterable[Passage],
    vector_source: VectorSource,
    on_conflict: OnConflict = "error",
    joined: Joined | None = None,
    renew: Renew | None = None,
) -> AddReport:
    """Store passages with their token vectors, all or none, in one transaction: `joined` or a new one.

    Passages are encoded before the transaction begins, so that no connection or lock is held meanwhile. With "update" passages
    replace those of the same id, and unchanged texts are not encoded again; with "skip" stored ones stay. If a rebuild changed the
    encoder meanwhile, `renew` returns the new one. Raises InputError, DuplicateIdError, VectorError, DimensionMismatchError,
    EncoderError, ConflictError, EncoderChangedError without `renew`, and DatabaseUnavailableError if the connection is lost; then
    the call can be repeated.
    """
    return _Ingestion(target, vector_source, on_conflict, joined, renew).take(source, updating=False)


def encode_ahead(
    target: Target, batch: Sequence[Passage], source: VectorSource, renew: Renew, known: EncodedAhead | None
) -> EncodedAhead:
    """Encode, outside any transaction, the texts that an add with "update" would encode, except those in `known`."""
    return _Ingestion(target, source, "update", None, renew).ahead(batch, known)


def update(
    target: Target,
    changes: Iterable[Change],
    vector_source: VectorSource,
    joined: Joined | None = None,
    renew: Renew | None = None,
) -> AddReport:
    """Add with "update" for existing passages, from partial changes. Also raises PassageNotFoundError."""
    return _Ingestion(target, vector_source, "update", joined, renew).take(changes, updating=True)


def remove(target: Target, restriction: Restriction, joined: Joined | None = None) -> int:
    """Delete the passages that match a restriction in one transaction, `joined` or a new one; return their number."""
    with target.database.writing(f"deleting from collection {target.name!r}", joined) as connection:
        tables = target.tables(connection)
        collections.lock_for_change(tables, target.identity)
        return passages.remove(tables, restriction)


class _Ingestion:
    """One call: batches are prepared one after the other, then written in one transaction."""

    def __init__(
        self, target: Target, source: VectorSource, on_conflict: OnConflict, joined: Joined | None, renew: Renew | None
    ) -> None:
        self._target = target
        self._source = source
        self._on_conflict = on_conflict
        self._joined = joined
        self._renew = renew
        self._doing = f"adding to collection {target.name!r}"
        self._dim: int | None = None

    def take(self, items: Iterable[Passage] | Iterable[Change], *, updating: bool) -> AddReport:
        """Store all passages or none."""
        seen: set[str] = set()
        with Spool[_Prepared]() as spool:
            for part in batches(items, BATCH):
                changes = cast("list[Change]", part) if updating else None
                given = [] if updating else cast("list[Passage]", part)
                keys = [key for key, _ in changes] if changes is not None else [passage.id for passage in given]
                first = _first_of_each(keys, seen, self._on_conflict)
                prepared = self._prepare(given, changes, keys, first)
                spool.append(prepared, prepared.size)
            self._source.finish()
            return self._write(spool)

    def ahead(self, given: Sequence[Passage], known: EncodedAhead | None) -> EncodedAhead:
        """Return the vectors of new texts."""
        made = known
        for batch in batches(given, BATCH):
            state, held = self._read_stored([passage.id for passage in batch])
            if made is None or made.encoding != self._target.encoding:
                made = EncodedAhead(self._source.spec, self._target.encoding)
            anew, _ = self._classify(batch, range(len(batch)), held)
            missing = list(
                {batch[position].encoded_text: position for position in anew if batch[position].encoded_text not in made}.values()
            )
            taken = self._source.take(batch, missing, state.dim)
            made.keep([batch[position].encoded_text for position in missing], taken)
        return made or EncodedAhead(self._source.spec, self._target.encoding)

    def _prepare(self, batch: list[Passage], changes: list[Change] | None, keys: list[str], first: list[int]) -> _Prepared:
        """Read the stored passages of the ids, then encode what is new."""
        state, held = self._read_stored(keys)
        if changes is not None:
            batch = self._changed(changes, held)
        elif self._on_conflict == "error" and held:
            raise self._duplicates(held)
        anew, relabelled = self._classify(batch, first, held)
        taken = self._source.take(batch, anew, self._dim or state.dim)
        tokens = token_matrix(taken.arrays, unit=self._unit) if taken.arrays else no_tokens(len(anew))
        check_counts(tokens, [batch[position].id for position in anew], state.vectors_per_passage)
        if taken.arrays:
            self._dim = tokens.vectors.shape[1]
        encoding = self._target.encoding
        return _Prepared(batch, changes, first, held, anew, relabelled, tokens, taken.dense, taken.truncated, encoding)

    def _read_stored(self, keys: list[str]) -> tuple[AddState, dict[str, Passage]]:
        """Return the state of the collection and the stored passages of the ids; follow a change of the encoder."""
        with self._target.database.preparing(self._doing, self._joined) as connection:
            tables = self._target.tables(connection)
            state = collections.add_state(tables, self._target.identity)
            held = passages.existing(tables, keys)
        if state.encoding != self._target.encoding:
            self._use_new_encoder()
        return state, held

    def _use_new_encoder(self) -> None:
        """Use the collection's new encoder from now on. Raises EncoderChangedError for given vectors."""
        if self._renew is None or self._source.given or self._source.given_dense:
            raise EncoderChangedError(self._target.name)
        encoding, self._source = self._renew()
        self._target = replace(self._target, encoding=encoding)
        self._dim = None

    def _changed(self, changes: list[Change], held: Mapping[str, Passage]) -> list[Passage]:
        missing = [key for key, _ in changes if key not in held]
        if missing:
            msg = (
                f"ids are not in collection {self._target.name!r}: {_shown(missing)}. Nothing of this call was stored; add them, "
                'or use add(…, on_conflict="update") for passages that may be new'
            )
            raise PassageNotFoundError(msg)
        return [apply(held[key]) for key, apply in changes]

    def _classify(self, batch: Sequence[Passage], first: Sequence[int], held: Mapping[str, Passage]) -> tuple[list[int], list[int]]:
        """Return positions of passages to write, and of those of which only the metadata differ."""
        if self._on_conflict == "skip":
            return [position for position in first if batch[position].id not in held], []
        if self._source.given or self._source.given_dense:
            return list(first), []
        anew, relabelled = [], []
        for position in first:
            passage, stored = batch[position], held.get(batch[position].id)
            if stored is None or (passage.title, passage.text) != (stored.title, stored.text):
                anew.append(position)
            elif not same(passage.metadata, stored.metadata):
                relabelled.append(position)
        return anew, relabelled

    def _prepare_again(self, prepared: _Prepared) -> _Prepared:
        """Prepare a batch again for the current state. Given vectors are reused; others are computed again."""
        keys = [passage.id for passage in prepared.batch]
        if self._source.given:
            _, held = self._read_stored(keys)
            batch = prepared.batch if prepared.changes is None else self._changed(prepared.changes, held)
            return prepared._replace(batch=batch, held=held)
        if self._source.given_dense:
            raise self._conflict(prepared)
        self._source = self._source.again()
        return self._prepare(prepared.batch, prepared.changes, keys, prepared.first)

    def _write(self, spool: Spool[_Prepared]) -> AddReport:
        """Write all batches in one transaction; prepare outdated batches again and retry."""
        for _ in range(_ATTEMPTS):
            try:
                with self._target.database.writing(self._doing, self._joined) as connection:
                    return _Writing(connection, self._target, self._source, self._on_conflict).write(spool)
            except _OutdatedError as outdated:
                places = outdated.places
            for place in places:
                spool.replace(place, self._prepare_again(spool[place]))
        raise self._conflict(spool[places[0]])

    @property
    def _unit(self) -> bool:
        return self._target.coders.scoring.unit_vectors

    def _conflict(self, prepared: _Prepared) -> ConflictError:
        return ConflictError(
            f"other transactions kept changing the same ids in collection {self._target.name!r}: "
            f"{_shown([passage.id for passage in prepared.batch])}. Nothing of this call was stored; repeat the call"
        )

    def _duplicates(self, held: Mapping[str, Passage]) -> DuplicateIdError:
        return DuplicateIdError(
            f"ids are in collection {self._target.name!r} already: {_shown(list(held))}. Nothing of this call was stored; "
            'leave them out, give the new passages other ids, or use on_conflict="update" or "skip"'
        )


class _Writing:
    """Transaction of one call."""

    def __init__(self, connection: Connection, target: Target, source: VectorSource, on_conflict: OnConflict) -> None:
        self._tables = target.tables(connection)
        self._target = target
        self._source = source
        self._on_conflict = on_conflict
        self._held = collections.lock_for_change(self._tables, target.identity)

    def write(self, spool: Spool[_Prepared]) -> AddReport:
        """Write all batches. Raises _OutdatedError for batches that no longer match the stored passages."""
        if len(spool) and self._held.encoding != self._target.encoding:
            raise _OutdatedError(list(range(len(spool))))
        report = AddReport(0, 0, 0)
        for place in range(len(spool)):
            prepared = spool[place]
            if prepared.encoding != self._held.encoding or not self._is_current(prepared):
                raise _OutdatedError([place])
            report = _sum(report, self._batch(prepared))
        return report

    def _is_current(self, prepared: _Prepared) -> bool:
        """Return whether the stored passages that the batch depends on are unchanged."""
        if self._on_conflict == "error" or (self._source.given and prepared.changes is None):
            return True
        stored = passages.existing(self._tables, [passage.id for passage in prepared.batch])
        return stored.keys() == prepared.held.keys() if self._on_conflict == "skip" else stored == prepared.held

    def _batch(self, prepared: _Prepared) -> AddReport:
        batch, anew, relabelled = prepared.batch, prepared.anew, prepared.relabelled
        written = AddReport(0, 0, 0)
        if anew:
            if len(prepared.tokens.vectors):
                self._settle(prepared.tokens.vectors.shape[1], prepared.dense)
            written = self._write_passages([batch[position] for position in anew], prepared.tokens, prepared.dense)
        if relabelled:
            changed = [batch[position] for position in relabelled]
            passages.set_metadata(self._tables, changed)
        updated = len(relabelled) + sum(batch[position].id in prepared.held for position in anew)
        skipped = len(batch) - len(anew) - len(relabelled)
        return _sum(written, AddReport(len(relabelled), 0, prepared.truncated, updated, skipped))

    def _write_passages(self, batch: list[Passage], tokens: TokenMatrix, dense: Float32Array | None) -> AddReport:
        """Write passages. Ids that another transaction stored first are checked again, unless conflicts are errors."""
        if self._on_conflict == "error":
            return self._store(batch, tokens, dense)
        for _ in range(_ATTEMPTS):
            kept = self._make_room(batch)
            part = batch, tokens, dense
            if len(kept) < len(batch):
                part = [batch[position] for position in kept], tokens.some(kept), None if dense is None else dense[kept]
            try:
                with self._tables.connection.transaction():
                    written = self._store(*part) if kept else AddReport(0, 0, 0)
            except DuplicateIdError:
                continue
            return _sum(written, AddReport(0, 0, 0, skipped=len(batch) - len(kept)))
        msg = (
            f"other transactions kept adding the same ids to collection {self._target.name!r}: {_shown([p.id for p in batch])}. "
            "Nothing of this call was stored; repeat the call"
        )
        raise ConflictError(msg)

    def _make_room(self, batch: Sequence[Passage]) -> list[int]:
        """Return positions of the passages to store: all, after deleting those of the same ids, or those not stored yet."""
        keys = [passage.id for passage in batch]
        stored = passages.existing(self._tables, keys)
        if self._on_conflict == "update":
            if stored:
                passages.remove(self._tables, Restriction(None, *array_of(list(stored))))
            return list(range(len(batch)))
        return [position for position, key in enumerate(keys) if key not in stored]

    def _store(self, batch: Sequence[Passage], tokens: TokenMatrix, dense: Float32Array | None) -> AddReport:
        """Store passages with their vectors and, after the first build, codes, proxies and a segment of postings."""
        tables, held = self._tables, self._held
        reserved = passages.reserve_ids(tables, len(batch))
        passage_ids = PassageIds(reserved, buckets_of([passage.id for passage in batch], held.buckets))
        passages.copy(tables, passage_ids, batch, tokens.lengths)
        if len(tokens.vectors) and (held.keep_vectors or held.codebook_id is None):
            vectors.copy(tables, held.encoding, passage_ids, tokens)
        if dense is not None and held.dense is not None:  # another process may have decided for none
            vectors.copy_dense(tables, held.dense_encoding, passage_ids, dense)
        if held.codebook_id is not None:
            index = tables.index(held.codebook_id)
            coder = self._target.coders.get(index, held.codebook_identity)
            coded = coder.code(passage_ids, tokens, measured=True)
            write_segment(index, coded, self._target.coders.scoring)
            codes.index_words(tables, passage_ids.ids)
        return AddReport(len(batch), len(tokens.vectors), 0)

    def _settle(self, width: int, dense: Float32Array | None) -> None:
        """Store dimensions and encoder with the first vectors, and whether there are given vectors."""
        held, source, name = self._held, self._source, self._target.name
        dense_width = None if dense is None else dense.shape[1]
        given, given_dense = held.given_vectors or source.given, held.given_dense or source.given_dense
        known = held.dense_dim or dense_width
        kept = None if held.dense == collections.AUTO and known is None else held.dense
        settled = held._replace(dim=held.dim or width, given_vectors=given, dense_dim=known, given_dense=given_dense, dense=kept)
        if settled != held:
            held = self._held = collections.settle(self._tables, width, source.spec, given, dense_width, given_dense)
        if width != held.dim:
            msg = f"{source} has {width} dimensions, but collection {name!r} has {held.dim}"
            raise DimensionMismatchError(msg)
        if dense_width is not None and dense_width != held.dense_dim:
            msg = f"dense vectors have {dense_width} dimensions, but those of collection {name!r} have {held.dense_dim}"
            raise DimensionMismatchError(msg)


def not_yet_added(target: Target, batch: Sequence[Passage]) -> list[Passage]:
    """Return the passages that the collection does not contain, to resume an interrupted load.

    Raises DuplicateIdError for an id with another title, text or metadata.
    """
    with target.database.connection(f"reading collection {target.name!r}") as connection:
        stored = passages.existing(target.tables(connection), [passage.id for passage in batch])
    different = [passage.id for passage in batch if not _same_content(passage, stored.get(passage.id, passage))]
    if different:
        msg = (
            f"ids are in collection {target.name!r} already, with different content: {_shown(different)}. Give these passages "
            "other ids, or replace the stored ones (--update)"
        )
        raise DuplicateIdError(msg)
    return [passage for passage in batch if passage.id not in stored]


def _same_content(one: Passage, other: Passage) -> bool:
    return (one.title, one.text) == (other.title, other.text) and same(one.metadata, other.metadata)


def batches(source: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Yield lists of `size` items; the last may be shorter."""
    items = iter(source)
    while batch := list(islice(items, size)):
        yield batch


def _sum(one: AddReport, other: AddReport) -> AddReport:
    return AddReport(*(mine + theirs for mine, theirs in zip(astuple(one), astuple(other), strict=True)))


def _first_of_each(keys: Sequence[str], seen: set[str], on_conflict: OnConflict) -> list[int]:
    """Return positions of the first occurrence of each id. Repeated ids are an error unless conflicts are skipped."""
    first, repeated = [], []
    for position, key in enumerate(keys):
        if key in seen:
            repeated.append(key)
        else:
            first.append(position)
        seen.add(key)
    if repeated and on_conflict != "skip":
        msg = f"ids occur twice in this call: {_shown(repeated)}. Nothing of this call was stored; give each passage its own id"
        raise DuplicateIdError(msg)
    return first


def _shown(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - _SHOWN} more" if len(ids) > _SHOWN else ""
    return ", ".join(repr(key) for key in ids[:_SHOWN]) + more
