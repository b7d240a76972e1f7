"""Changes of a collection: check arguments, choose the source of vectors, and write passages and vectors."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from pgretrieval import validate
from pgretrieval.corpus.validate import to_change, to_passage
from pgretrieval.db.joining import Joined
from pgretrieval.db.tables.collections import KEPT
from pgretrieval.errors import ConfigError, EncoderChangedError, InputError, PgRetrievalWarning, VectorError
from pgretrieval.index import ingest
from pgretrieval.index.compaction import compact_if_needed
from pgretrieval.index.ingest import Target
from pgretrieval.index.opened import OpenCollection
from pgretrieval.index.options import makes_dense
from pgretrieval.index.sources import EncodedAhead, EncodedVectors, GivenDense, GivenVectors, NoVectors, TextsOnly, VectorSource
from pgretrieval.types import AddReport, OnConflict, Passage, Restriction

Progress = Callable[[int], None]

_Checked = TypeVar("_Checked")


def add(
    opened: OpenCollection,
    passages: Any,
    vectors: Any,
    dense: Any,
    on_conflict: Any,
    connection: Joined | None,
    progress: Any,
) -> AddReport:
    """Check passages and store them with their vectors, all or none."""
    policy: OnConflict = validate.choice("on_conflict", on_conflict, ("error", "update", "skip"))
    passages, vectors, dense = _read_lists(passages, vectors, dense, progress)
    checked = _check_each(partial(to_passage, may_be_blank=vectors is not None), passages)
    encoding, source = vector_source(opened, vectors, dense, progress)
    renew = partial(_current_source, opened)
    return _write_and_compact(
        opened, connection, lambda: ingest.add(_target(opened, encoding), checked, source, policy, connection, renew)
    )


def update(
    opened: OpenCollection,
    passages: Any,
    vectors: Any,
    dense: Any,
    connection: Joined | None,
    progress: Any,
) -> AddReport:
    """Check changes of existing passages and apply them, all or none."""
    passages, vectors, dense = _read_lists(passages, vectors, dense, progress)
    changes = _check_each(to_change, passages)
    encoding, source = vector_source(opened, vectors, dense, progress, changing=True)
    renew = partial(_current_source, opened)
    target = _target(opened, encoding)
    return _write_and_compact(opened, connection, lambda: ingest.update(target, changes, source, connection, renew))


def remove(opened: OpenCollection, restriction: Restriction, connection: Joined | None) -> int:
    """Delete passages and return their number."""
    removed = ingest.remove(_target(opened), restriction, connection)
    _compact_if_needed(opened, connection)
    return removed


def not_yet_added(opened: OpenCollection, passages: Any) -> list[Passage]:
    """Return the passages that the collection does not contain. Raises DuplicateIdError for an id with different content."""
    listed = validate.listed("passages", passages, "passages", InputError)
    return ingest.not_yet_added(_target(opened), list(_check_each(partial(to_passage, may_be_blank=True), listed)))


def encode_ahead(opened: OpenCollection, passages: Sequence[Passage], known: EncodedAhead | None = None) -> EncodedAhead:
    """Encode new texts of checked passages for `add_ahead`, except those in `known`."""
    encoding, source = vector_source(opened, None, None, None, changing=True)
    return ingest.encode_ahead(_target(opened, encoding), passages, source, partial(_current_source, opened), known)


def add_ahead(opened: OpenCollection, passages: Sequence[Passage], ahead: EncodedAhead, connection: Joined) -> AddReport:
    """Add with "update" in the caller's transaction without encoding. Raises NotEncodedError, EncoderChangedError."""
    return ingest.add(_target(opened, ahead.encoding), passages, ahead, "update", connection)


def _read_lists(
    passages: Any, vectors: Any, dense: Any, progress: Any
) -> tuple[Iterable[Any], Iterable[Any] | None, Iterable[Any] | None]:
    """Check that passages, vectors and dense vectors are iterables. Raises InputError, VectorError."""
    validate.called("progress", progress)
    if isinstance(passages, Passage):
        msg = "passages is one Passage; give a list of passages"
        raise InputError(msg)
    arrays = (
        None if vectors is None else validate.listed("vectors", vectors, "(tokens, dim) arrays, one for each passage", VectorError)
    )
    rows = None if dense is None else validate.listed("dense", dense, "vectors, one for each passage", VectorError)
    return validate.listed("passages", passages, "passages", InputError), arrays, rows


def _check_each(check: Callable[[Any, str], _Checked], records: Iterable[Any]) -> Iterator[_Checked]:
    """Check each passage when it is read; errors name its number."""
    return (check(record, f"passage {number}") for number, record in enumerate(records, start=1))


def check_deletion(ids: Any, where: Any, everything: Any) -> None:
    """Raise ConfigError unless ids, a condition or `all` select the passages to delete."""
    if validate.flag("all", everything) != (ids is None and where is None):
        msg = "delete needs ids, where= or all=True, which deletes every passage; give ids or where=, or only all=True"
        raise ConfigError(msg)
    if isinstance(where, Mapping) and not where:
        msg = "where is {}, which would delete every passage; give a condition, or all=True"
        raise ConfigError(msg)


def vector_source(
    opened: OpenCollection,
    vectors: Iterable[Any] | None,
    dense: Iterable[Any] | None,
    progress: Progress | None,
    *,
    changing: bool = False,
) -> tuple[int, VectorSource]:
    """Return the encoder generation of new passages and the source of their vectors; with `changing` there may be no source."""
    if opened.row.texts_alone:
        opened.refresh()  # a rebuild may have set an encoder
    row = opened.row
    if row.texts_alone:
        if vectors is not None or dense is not None:
            msg = f'collection {row.name!r} stores texts only (encoder="none"); leave vectors= and dense= out'
            raise ConfigError(msg)
        return row.encoding, TextsOnly(progress)
    if dense is not None and not row.keeps_dense:
        msg = f'collection {row.name!r} stores no dense vectors; create it with dense="kept", or leave dense= out'
        raise ConfigError(msg)
    given = GivenDense(dense) if dense is not None else None
    if vectors is None:
        try:
            encoding, encoder = opened.encoder()
        except InputError as error:
            if changing:
                return opened.row.encoding, NoVectors(error)
            raise
        return encoding, EncodedVectors(encoder, given, progress, with_dense=makes_dense(row, encoder))
    if row.dense == KEPT and given is None:
        msg = f"collection {row.name!r} stores dense vectors; give dense=, one vector for each passage, with vectors="
        raise InputError(msg)
    return row.encoding, GivenVectors(vectors, given, progress)


def _current_source(opened: OpenCollection) -> tuple[int, VectorSource]:
    """Return generation and source of vectors after a rebuild changed the encoder."""
    opened.forget_old_encoder()
    return vector_source(opened, None, None, None, changing=True)


def _target(opened: OpenCollection, encoding: int | None = None) -> Target:
    row = opened.row
    held = row.encoding if encoding is None else encoding
    return Target(opened.database, row.collection_id, row.name, held, opened.coders, row.identity)


def _write_and_compact(opened: OpenCollection, connection: Joined | None, write: Callable[[], AddReport]) -> AddReport:
    try:
        report = write()
    except EncoderChangedError:
        _current_source(opened)
        raise
    if report.truncated:
        message = f"{report.truncated} of {report.passages} texts were longer than the model's limit and were truncated"
        warnings.warn(message, PgRetrievalWarning, stacklevel=4)
    _compact_if_needed(opened, connection)
    return report


def _compact_if_needed(opened: OpenCollection, connection: Joined | None) -> None:
    """Compact if needed, unless the change belongs to the caller's open transaction."""
    if connection is None:
        compact_if_needed(opened.database, opened.row)
