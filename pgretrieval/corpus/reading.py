"""Passages of files of every kind that `index` takes."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from pgretrieval import validate
from pgretrieval.corpus import arrow
from pgretrieval.corpus.columns import Columns, columns_of
from pgretrieval.corpus.delimited import read_delimited
from pgretrieval.corpus.jsonl import read_objects
from pgretrieval.corpus.validate import to_passage
from pgretrieval.errors import InputError, PgRetrievalWarning
from pgretrieval.types import Passage

Blank = Literal["error", "skip", "title"]
"""What becomes of a passage without text: an error, nothing, or a passage whose text is its title."""
BLANKS: tuple[Blank, ...] = ("error", "skip", "title")

_BLANK_REMEDY = 'leave it out, or give blank="skip" or "title" (--blank)'

_Row = tuple[str, Mapping[str, Any]]
_ReadRows = Callable[[Path, str, Columns], Iterator[_Row]]


def read_passages(
    path: str | os.PathLike[str],
    name: str | None = None,
    *,
    id: str | None = None,
    title: str | None = None,
    text: str | None = None,
    metadata: Sequence[str] | None = None,
    blank: Blank = "error",
) -> Iterator[Passage]:
    """Yield the passages of a file, checked, without holding it in memory.

    Args:
        path: A .jsonl, .csv or .tsv file, also with .gz; a .parquet or .arrow file or a folder of `save_to_disk` (extra `files`).
            Names without an ending are JSON Lines.
        name: What errors call the file; by default its path.
        id: Column of the ids; by default `id`, or else `_id`.
        title: Column of the titles; by default `title`, if there is one.
        text: Column of the texts; by default `text`.
        metadata: Columns that become the metadata; by default the object in `metadata`, if there is one.
        blank: For passages without text: "error"; "skip" leaves them out; "title" makes the title the text, and leaves out what has
            neither. A warning at the end counts them.

    Raises:
        InputError: A passage or file is invalid; the message names the file and the line or row.
        MissingExtraError: The file needs a package that is not installed.
    """
    columns = columns_of(id, title, text, metadata)
    policy = validate.choice("blank", blank, BLANKS)
    path = Path(validate.path("path", path))
    return _passages(path, str(path) if name is None else name, columns, policy)


def _passages(path: Path, name: str, columns: Columns, blank: Blank) -> Iterator[Passage]:
    empty, left_out, titles = True, 0, 0
    for where, row in _rows_of(path, name)(path, name, columns):
        empty = False
        record = columns.record(row)
        if blank != "error" and _is_blank(record["text"]):
            if blank == "skip" or _is_blank(record["title"]):
                left_out += 1
                continue
            titles += 1
            record |= {"text": record["title"], "title": None}
        yield to_passage(record, where, blank_remedy=_BLANK_REMEDY)
    if empty:
        raise InputError(f"{name}: the file has no passages; {'write one JSON object per line' if _is_json(path) else 'add rows'}")
    _report(name, left_out, titles)


def _is_blank(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _report(name: str, left_out: int, titles: int) -> None:
    if left_out:
        warnings.warn(f"{name}: {left_out:,} passages without text were left out", PgRetrievalWarning, stacklevel=3)
    if titles:
        warnings.warn(f"{name}: {titles:,} passages without text have their title as text", PgRetrievalWarning, stacklevel=3)


def _read_json(path: Path, name: str, columns: Columns) -> Iterator[_Row]:
    """Yield the objects of a file. Raises InputError at its end for a named column that none of them has."""
    unseen = set(columns.named)
    for where, row in read_objects(path, name):
        if unseen:
            unseen -= row.keys()
        yield where, row
    if unseen:
        raise InputError(f"{name}: no object has the key {validate.shown(min(unseen))}; name one that the objects have")


_ROWS: dict[str, _ReadRows] = {
    **dict.fromkeys(("", ".json", ".jsonl", ".ndjson"), _read_json),
    ".csv": partial(read_delimited, kind="csv"),
    ".tsv": partial(read_delimited, kind="tsv"),
    ".parquet": arrow.read_parquet,
    **dict.fromkeys((".arrow", ".feather"), arrow.read_arrow),
}
_COMPRESSED = ("", ".json", ".jsonl", ".ndjson", ".csv", ".tsv")


def _rows_of(path: Path, name: str) -> _ReadRows:
    if path.is_dir() and arrow.is_saved_dataset(path):
        return arrow.read_saved_dataset
    kind = _kind(path)
    if kind not in _ROWS:
        known = ", ".join(kind for kind in _ROWS if kind)
        raise InputError(f"{name}: files ending in {kind} cannot be read; give one of {known}")
    return _ROWS[kind]


def _kind(path: Path) -> str:
    """Return the ending of a file, without .gz where it is of a kind that may be compressed."""
    kind = path.suffix.lower()
    inner = path.with_suffix("").suffix.lower()
    return inner if kind == ".gz" and inner in _COMPRESSED else kind


def _is_json(path: Path) -> bool:
    return _ROWS.get(_kind(path)) is _read_json
