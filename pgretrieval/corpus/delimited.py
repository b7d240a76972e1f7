"""Rows of CSV and TSV files, plain or gzip, with the delimiter found by the header."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from pgretrieval.corpus.columns import Columns
from pgretrieval.corpus.lines import MAX_LINE_BYTES, whole_lines
from pgretrieval.errors import InputError

DELIMITERS = {"csv": ",;\t|", "tsv": "\t,;|"}
"""Delimiters by kind, the usual one first."""


class _Lines:
    """Lines of a file for a `csv.reader`, which reads several for a row with quoted line ends; `read` is how many it has read."""

    def __init__(self, path: Path, name: str) -> None:
        self.read = 0
        self._lines = whole_lines(path, name)

    def __iter__(self) -> Iterator[str]:
        for _, line in self._lines:
            self.read += 1
            yield line


def read_delimited(path: Path, name: str, columns: Columns, kind: str) -> Iterator[tuple[str, dict[str, object]]]:
    """Yield ("FILE:LINE", row) of a file with a header, with the line on which the row begins; blank lines are skipped.

    The delimiter is the first of `DELIMITERS` that gives the header the wanted columns. Numbers in columns of the metadata become
    numbers if they are written as Python writes them, so that none changes; empty fields there become None.
    """
    csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE_BYTES))
    lines = _Lines(path, name)
    feed = iter(lines)
    header = next((line for line in feed if line.strip()), None)
    if header is None:
        raise InputError(f"{name}: the file is empty; its first line must name the columns")
    delimiter = _delimiter(header, columns, kind)
    found = [column.strip() for column in _fields(header, delimiter)]
    try:
        columns.check(found, f"{name}:{lines.read} (delimiter {delimiter!r})")
    except InputError as error:
        raise InputError(f"{error}; the delimiter can be a comma, a semicolon, a tab or |") from error
    rows = csv.reader(feed, delimiter=delimiter, strict=True)
    while True:
        where = f"{name}:{lines.read + 1}"
        try:
            row = next(rows, None)
        except csv.Error as error:
            msg = f"{where}: not valid {kind.upper()} ({error}); close each quoted field, and double the quotes in it"
            raise InputError(msg) from error
        if row is None:
            return
        if not row:
            continue
        if len(row) != len(found):
            msg = f"{where}: the row has {len(row)} fields, and the header {len(found)}; quote fields that contain {delimiter!r}"
            raise InputError(msg)
        record: dict[str, object] = dict(zip(found, row, strict=True))
        for column in columns.metadata or ():
            record[column] = _number(str(record[column]))
        yield where, record


def _delimiter(header: str, columns: Columns, kind: str) -> str:
    """Return the delimiter that gives the wanted columns, or else the one that gives most."""
    return min(
        DELIMITERS[kind],
        key=lambda delimiter: (
            columns.missing(column.strip() for column in _fields(header, delimiter)) is not None,
            -len(_fields(header, delimiter)),
        ),
    )


def _fields(header: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([header], delimiter=delimiter, strict=True), [])
    except csv.Error:
        return []


def _number(written: str) -> object:
    if not written:
        return None
    for kind in (int, float):
        try:
            number = kind(written)
        except ValueError:
            continue
        if repr(number) == written and written not in ("nan", "inf", "-inf"):
            return number
    return written
