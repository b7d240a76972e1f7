"""Rows of published files: tabs or JSON, with the file and line of each error."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from pgretrieval.corpus.jsonl import read_objects
from pgretrieval.corpus.lines import read_lines
from pgretrieval.corpus.validate import to_passage
from pgretrieval.errors import InputError
from pgretrieval.types import Passage

_Value = TypeVar("_Value")


def inside(folder: Path, *places: str) -> Path:
    """Return the first existing of the folders below `folder`, or else `folder` itself."""
    return next((folder / place for place in places if (folder / place).is_dir()), folder)


def find_file(folder: Path, *names: str) -> Path:
    """Return the first existing file of these names, plain or gzip. Raises InputError."""
    for name in names:
        for path in (folder / name, folder / f"{name}.gz"):
            if path.is_file():
                return path
    wanted = " or ".join(names)
    msg = f"{folder}: there is no {wanted}; give --folder the unpacked download, whose files keep their published names"
    raise InputError(msg)


def tab_rows(path: Path, *columns: str) -> Iterator[tuple[str, list[str]]]:
    """Yield ("FILE:LINE", columns) for each line. Raises InputError for another number of columns."""
    for where, line in read_lines(path):
        row = line.split("\t")
        if len(row) != len(columns):
            msg = f"{where}: found {len(row)} columns; the layout has {len(columns)} with tabs: {', '.join(columns)}"
            raise InputError(msg)
        yield where, row


def object_rows(path: Path, **fields: type) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield ("FILE:LINE", object) for each line. Raises InputError for a field that is missing or of another type."""
    for where, record in read_objects(path):
        for name, kind in fields.items():
            if not isinstance(record.get(name), kind) or isinstance(record[name], bool):
                found = f"{type(record[name]).__name__}" if name in record else "missing"
                msg = f"{where}: {name!r} is {found}; the layout has {kind.__name__}"
                raise InputError(msg)
        yield where, record


def texts_by_id(rows: Iterable[tuple[str, str, str]]) -> dict[str, str]:
    """Return texts by id from ("FILE:LINE", id, text). Raises InputError for an id that occurs twice."""
    texts: dict[str, str] = {}
    for where, key, text in rows:
        put_once(texts, where, key, text)
    return texts


def put_once(held: dict[str, _Value], where: str, key: str, value: _Value) -> None:
    """Add a value. Raises InputError if the key exists."""
    if key in held:
        msg = f"{where}: the id {key!r} occurs on an earlier line, too; the published file has each id once"
        raise InputError(msg)
    held[key] = value


def passage_of(where: str, key: str, text: str, title: str = "") -> Passage | None:
    """Return a checked passage, or None if it is blank; a title without text becomes the text."""
    text, title = text.strip(), title.strip()
    if not text and not title:
        return None
    return to_passage({"id": key, "text": text or title, "title": title if text else None}, where)


def held_passages(passages: Iterable[Passage | None], path: Path) -> Iterator[Passage]:
    """Yield the passages that are not blank. Raises InputError if there is none."""
    empty = True
    for passage in passages:
        if passage is not None:
            empty = False
            yield passage
    if empty:
        msg = f"{path}: the file has no passages; download it again"
        raise InputError(msg)
