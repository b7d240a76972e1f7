"""Passages of files of every kind that `index` takes."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from pgretrieval import validate
from pgretrieval.corpus import arrow
from pgretrieval.corpus.chunks import Part, cutter
from pgretrieval.corpus.columns import Columns, columns_of
from pgretrieval.corpus.delimited import read_delimited
from pgretrieval.corpus.documents import DOCUMENTS, endings_listed, is_document, read_documents
from pgretrieval.corpus.hub import is_dataset_name, read_dataset
from pgretrieval.corpus.jsonl import read_objects
from pgretrieval.corpus.lines import unreadable
from pgretrieval.corpus.page_images import IMAGES
from pgretrieval.corpus.validate import to_passage
from pgretrieval.errors import InputError, PgRetrievalWarning
from pgretrieval.types import Passage

Blank = Literal["error", "skip", "title"]
"""Treatment of a passage without text: an error, nothing, or a passage whose text is its title."""
BLANKS: tuple[Blank, ...] = ("error", "skip", "title")

_BLANK_REMEDY = 'leave it out, or give blank="skip" or "title" (--blank)'

_Row = tuple[str, Mapping[str, Any]]
_ReadRows = Callable[[Path, str, Columns], Iterator[_Row]]
_Cut = Callable[[str], Iterator[Part]]


def read_passages(
    path: str | os.PathLike[str],
    name: str | None = None,
    *,
    id: str | None = None,
    title: str | None = None,
    text: str | None = None,
    metadata: Sequence[str] | None = None,
    blank: Blank = "error",
    chunk: int | None = None,
    overlap: int | None = None,
    count_tokens: Callable[[str], int] | None = None,
) -> Iterator[Passage]:
    """Yield the passages of a file or folder, checked, one after the other.

    The passages of a document are named path#1, path#2 and so on; their metadata are its `path`, the `page` of a PDF, and their
    `start` and `end`, offsets of characters in the document's or page's text.

    Args:
        path: A table: .jsonl, .csv or .tsv, also with .gz, or .parquet, .arrow or a folder of `save_to_disk` (extra `files`). Or a
            document: .txt, .md, .html or .pdf (extra `files`), or a folder of documents. Or a dataset by name: "hf:NAME",
            "hf:NAME:CONFIGURATION@SPLIT". Names without an ending are JSON Lines.
        name: What errors call the file; by default its path.
        id: Column of a table's ids; by default `id`, or else `_id`. Documents have no columns.
        title: Column of the titles; by default `title`, if there is one.
        text: Column of the texts; by default `text`.
        metadata: Columns that become the metadata; by default the object in `metadata`, if there is one.
        blank: For passages without text: "error"; "skip" leaves them out; "title" makes the title the text, and leaves out what has
            neither. A warning at the end counts them.
        chunk: Most tokens of a passage (extra `files`). Longer texts are cut at paragraphs, lines, sentences or words. The parts of
            a row get ids like a document's, and the offsets in their metadata.
        overlap: Tokens that a part repeats of the one before it.
        count_tokens: Counts the tokens of a text, such as a collection's `encoder.count_tokens`; by default words are counted.

    Raises:
        InputError: A passage or file is invalid; the message names the file and the line or row.
        MissingExtraError: The file needs a package that is not installed.
    """
    columns = columns_of(id, title, text, metadata)
    blanks = _Blanks(validate.choice("blank", blank, BLANKS))
    cut = cutter(chunk, overlap, count_tokens)
    path = Path(validate.path("path", path))
    name = str(path) if name is None else validate.text("name", name)
    try:
        is_folder = path.is_dir() and not arrow.is_saved_dataset(path)
    except OSError as error:  # such as a name that is too long
        raise unreadable(name, error) from error
    if is_folder or is_document(path):
        return _documents(path, name, blanks, cut)
    return _rows(path, name, columns, blanks, None if chunk is None else cut)


class _Blanks:
    """Treatment of passages without text, and their numbers."""

    def __init__(self, policy: Blank) -> None:
        self._policy = policy
        self._left_out = self._titles = 0

    def settle(self, record: dict[str, Any]) -> dict[str, Any] | None:
        """Return a passage's record, with a text if it has one, or None to leave it out."""
        if self._policy == "error" or not _is_blank(record["text"]):
            return record
        if self._policy == "skip" or _is_blank(record["title"]):
            self._left_out += 1
            return None
        self._titles += 1
        return {**record, "text": record["title"], "title": None}

    def report(self, name: str) -> None:
        """Warn of the passages without text."""
        if self._left_out:
            _warn(f"{name}: {self._left_out:,} passages without text were left out")
        if self._titles:
            _warn(f"{name}: {self._titles:,} passages without text have their title as text")


def _rows(path: Path, name: str, columns: Columns, blanks: _Blanks, cut: _Cut | None) -> Iterator[Passage]:
    empty = True
    for where, row in _rows_of(path, name)(path, name, columns):
        empty = False
        record = blanks.settle(columns.record(row))
        if record is None:
            continue
        passage = to_passage(record, where, blank_remedy=_BLANK_REMEDY)
        if cut is None:
            yield passage
        else:
            yield from _parts(passage, cut, where)
    if empty:
        raise InputError(f"{name}: the file has no passages; {'write one JSON object per line' if _is_json(path) else 'add rows'}")
    blanks.report(name)


def _documents(path: Path, name: str, blanks: _Blanks, cut: _Cut) -> Iterator[Passage]:
    others: Counter[str] = Counter()
    for document in read_documents(path, name, others):
        made = 0
        for page in document.pages:
            metadata: dict[str, Any] = {"path": document.path}
            if page.number is not None:
                metadata["page"] = page.number
            record = blanks.settle({"id": document.path, "text": page.text, "title": page.title, "metadata": metadata})
            if record is not None:
                passage = to_passage(record, page.where, blank_remedy=_BLANK_REMEDY)
                for part in _parts(passage, cut, page.where, made):
                    made += 1
                    yield part
    blanks.report(name)
    if others:
        _warn(f"{name}: files of other kinds were not read: {endings_listed(others)}")


def _parts(passage: Passage, cut: _Cut, where: str, before: int = 0) -> Iterator[Passage]:
    """Yield the parts of a passage's text, numbered after those `before`."""
    for number, (start, end) in enumerate(cut(passage.text), start=before + 1):
        part = replace(
            passage,
            id=f"{passage.id}#{number}",
            text=passage.text[start:end],
            metadata={**passage.metadata, "start": start, "end": end},
        )
        yield to_passage(part, where)


def _is_blank(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _warn(message: str) -> None:
    warnings.warn(message, PgRetrievalWarning, stacklevel=4)


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
    if is_dataset_name(path):
        return read_dataset
    if path.is_dir() and arrow.is_saved_dataset(path):
        return arrow.read_saved_dataset
    kind = _kind(path)
    if kind in IMAGES:
        raise InputError(f"{name}: is an image; give an encoder that takes images (--encoder), or use read_page_images")
    if kind not in _ROWS:
        known = ", ".join(kind for kind in (*_ROWS, *DOCUMENTS) if kind)
        raise InputError(f"{name}: files ending in {kind} cannot be read; give one of {known}")
    return _ROWS[kind]


def _kind(path: Path) -> str:
    """Return the ending of a file, without .gz where it is of a kind that may be compressed."""
    kind = path.suffix.lower()
    inner = path.with_suffix("").suffix.lower()
    return inner if kind == ".gz" and inner in _COMPRESSED else kind


def _is_json(path: Path) -> bool:
    return _ROWS.get(_kind(path)) is _read_json
