"""Changes of a collection: check what the caller gives, find where vectors come from, and write both."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from pgretrieval import validate
from pgretrieval.db.joining import Joined
from pgretrieval.errors import ConfigError, EncoderChangedError, InputError, PgRetrievalWarning, VectorError
from pgretrieval.index import ingest
from pgretrieval.index.compaction import compact_if_needed
from pgretrieval.index.ingest import Change, Target
from pgretrieval.index.opened import OpenCollection
from pgretrieval.index.sources import EncodedAhead, EncodedVectors, GivenDense, GivenVectors, NoVectors, TextsAlone, VectorSource
from pgretrieval.types import AddReport, OnConflict, Passage, Restriction

Progress = Callable[[int], None]


def add(
    opened: OpenCollection,
    passages: Iterable[Passage],
    vectors: Iterable[Any] | None,
    dense: Iterable[Any] | None,
    on_conflict: OnConflict,
    connection: Joined | None,
    progress: Progress | None,
) -> AddReport:
    """Store checked passages, all of them or none, with their vectors."""
    encoding, source = vector_source(opened, vectors, dense, progress)
    renew = partial(_renewed, opened)
    return _written(
        opened, connection, lambda: ingest.add(_target(opened, encoding), passages, source, on_conflict, connection, renew)
    )


def update(
    opened: OpenCollection,
    changes: Iterable[Change],
    vectors: Iterable[Any] | None,
    dense: Iterable[Any] | None,
    connection: Joined | None,
    progress: Progress | None,
) -> AddReport:
    """Change passages that are there, all of them or none."""
    encoding, source = vector_source(opened, vectors, dense, progress, changing=True)
    renew = partial(_renewed, opened)
    target = _target(opened, encoding)
    return _written(opened, connection, lambda: ingest.update(target, changes, source, connection, renew))


def remove(opened: OpenCollection, restriction: Restriction, connection: Joined | None) -> int:
    """Delete passages; returns how many there were."""
    removed = ingest.remove(_target(opened), restriction, connection)
    _compact_if_needed(opened, connection)
    return removed


def not_yet_added(opened: OpenCollection, passages: Sequence[Passage]) -> list[Passage]:
    """Those that the collection does not hold. Raises DuplicateIdError where it holds an id with other content."""
    return ingest.not_yet_added(_target(opened), passages)


def encode_ahead(opened: OpenCollection, passages: Sequence[Passage], known: EncodedAhead | None = None) -> EncodedAhead:
    """For `add_ahead`: the vectors of what is new among checked passages; those `known` are not made again."""
    encoding, source = vector_source(opened, None, None, None, changing=True)
    return ingest.encode_ahead(_target(opened, encoding), passages, source, partial(_renewed, opened), known)


def add_ahead(opened: OpenCollection, passages: Sequence[Passage], ahead: EncodedAhead, connection: Joined) -> AddReport:
    """`add` with "update" that encodes nothing, in a transaction. Raises NotEncodedError, EncoderChangedError."""
    return ingest.add(_target(opened, ahead.encoding), passages, ahead, "update", connection)


def read_lists(
    passages: Any, vectors: Any, dense: Any, progress: Any
) -> tuple[Iterable[Any], Iterable[Any] | None, Iterable[Any] | None]:
    """Check that passages, and what is given beside them, are lists. Raises InputError, VectorError."""
    validate.called("progress", progress)
    if isinstance(passages, Passage):
        msg = "passages is one Passage; give a list of passages"
        raise InputError(msg)
    arrays = None if vectors is None else validate.listed("vectors", vectors, "(tokens, dim) arrays, one a passage", VectorError)
    rows = None if dense is None else validate.listed("dense", dense, "vectors, one a passage", VectorError)
    return validate.listed("passages", passages, "passages", InputError), arrays, rows


def check_deletion(ids: Any, where: Any, everything: Any) -> None:
    """Raise ConfigError unless what is to be deleted is said: ids, a condition, or everything."""
    if validate.flag("all", everything) != (ids is None and where is None):
        msg = "delete needs ids, where= or all=True, which deletes every passage; give ids or where=, or all=True alone"
        raise ConfigError(msg)
    if isinstance(where, Mapping) and not where:
        msg = "where is {}, which would delete every passage; give a condition, or say all=True"
        raise ConfigError(msg)


def vector_source(
    opened: OpenCollection,
    vectors: Iterable[Any] | None,
    dense: Iterable[Any] | None,
    progress: Progress | None,
    *,
    changing: bool = False,
) -> tuple[int, VectorSource]:
    """Return the encoder generation of passages to come, and where their vectors come from; `changing` may need none."""
    if opened.row.texts_alone:
        opened.refresh()  # a rebuild may have given it an encoder
    row = opened.row
    if row.texts_alone:
        if vectors is not None or dense is not None:
            msg = f'collection {row.name!r} holds texts alone (encoder="none"); leave vectors= and dense= out'
            raise ConfigError(msg)
        return row.encoding, TextsAlone(progress)
    if dense is not None and not row.keeps_dense:
        msg = f'collection {row.name!r} keeps no dense vectors; create it with dense="kept", or leave dense= out'
        raise ConfigError(msg)
    given = GivenDense(dense) if dense is not None else None
    if vectors is None:
        try:
            encoding, encoder = opened.encoder()
        except InputError as error:
            if changing:
                return opened.row.encoding, NoVectors(error)
            raise
        return encoding, EncodedVectors(encoder, given, progress, with_dense=row.keeps_dense)
    if row.keeps_dense and given is None:
        msg = f"collection {row.name!r} keeps dense vectors; give dense=, one vector a passage, beside vectors="
        raise InputError(msg)
    return row.encoding, GivenVectors(vectors, given, progress)


def _renewed(opened: OpenCollection) -> tuple[int, VectorSource]:
    """Where vectors of texts come from after a rebuild has changed the encoder."""
    opened.forget_old_encoder()
    return vector_source(opened, None, None, None, changing=True)


def _target(opened: OpenCollection, encoding: int | None = None) -> Target:
    row = opened.row
    held = row.encoding if encoding is None else encoding
    return Target(opened.database, row.collection_id, row.name, held, opened.coders, row.identity)


def _written(opened: OpenCollection, connection: Joined | None, write: Callable[[], AddReport]) -> AddReport:
    try:
        report = write()
    except EncoderChangedError:
        _renewed(opened)
        raise
    if report.truncated:
        message = f"{report.truncated} of {report.passages} texts were longer than the model reads and were cut"
        warnings.warn(message, PgRetrievalWarning, stacklevel=4)
    _compact_if_needed(opened, connection)
    return report


def _compact_if_needed(opened: OpenCollection, connection: Joined | None) -> None:
    """Compact if needed, unless the change belongs to the caller's open transaction."""
    if connection is None:
        compact_if_needed(opened.database, opened.row)
