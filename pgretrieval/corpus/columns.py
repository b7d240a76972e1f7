"""The columns of a table that make up passages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pgretrieval import validate
from pgretrieval.corpus.jsonl import parse
from pgretrieval.errors import ConfigError, InputError


@dataclass(frozen=True, slots=True)
class Columns:
    """Names of columns. None means the default: id or _id, text, and title and metadata where the table has them.

    The columns that `metadata` names become keys of the metadata; without it, a column of this name has an object, also as JSON.
    """

    id: str | None = None
    title: str | None = None
    text: str | None = None
    metadata: tuple[str, ...] | None = None

    @property
    def named(self) -> list[str]:
        """The names that were given; the table must have them."""
        return [name for name in (self.id, self.title, self.text, *(self.metadata or ())) if name is not None]

    def missing(self, found: Iterable[str]) -> str | None:
        """Return a column that a table with these columns lacks."""
        have = set(found)
        needed = [*self.named, self.text or "text", *([] if self.id is not None or "_id" in have else ["id"])]
        return next((name for name in needed if name not in have), None)

    def check(self, found: Sequence[str], name: str) -> list[str]:
        """Return those of a table's columns that are read. Raises InputError for one that is missing or occurs twice."""
        lacking = self.missing(found)
        if lacking is not None:
            raise InputError(f"{name}: has no column {validate.shown(lacking)}; {_listed(found)}; {_REMEDY}")
        read = {*self.named, "id", "_id", "title", "text", "metadata"}
        kept = [column for column in found if column in read]
        twice = next((column for column in kept if kept.count(column) > 1), None)
        if twice is not None:
            raise InputError(f"{name}: has the column {validate.shown(twice)} twice; {_listed(found)}; rename one")
        return kept

    def record(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields of a row's passage, not yet checked."""
        given = row.get("id") if self.id is None else row.get(self.id)
        if self.metadata is not None:
            metadata: Any = {name: row[name] for name in self.metadata if name in row}
        else:
            metadata = _object(row.get("metadata"))
        return {
            "id": row.get("_id") if given is None and self.id is None else given,
            "title": row.get(self.title or "title"),
            "text": row.get(self.text or "text"),
            "metadata": metadata,
        }


_LISTED = 20
_REMEDY = "name others by id=, title=, text= and metadata= (--id, --title, --text, --metadata)"


def columns_of(id: Any, title: Any, text: Any, metadata: Any) -> Columns:
    """Check the names of columns. Raises ConfigError."""
    columns = Columns(
        id=None if id is None else validate.text("id", id),
        title=None if title is None else validate.text("title", title),
        text=None if text is None else validate.text("text", text),
    )
    if metadata is None:
        return columns
    listed = validate.listed("metadata", metadata, "names of columns", ConfigError)
    return replace(columns, metadata=tuple(validate.text("metadata", name) for name in listed))


def _object(written: Any) -> Any:
    """Return the object that a text holds as JSON, None for a blank text, and other values as they are."""
    if not isinstance(written, str):
        return written
    if not written.strip():
        return None
    try:
        read = parse(written)
    except (ValueError, RecursionError):
        return written
    return read if isinstance(read, dict) else written


def _listed(found: Sequence[str]) -> str:
    names = ", ".join(map(validate.shown, found[:_LISTED]))
    return f"its columns are {names}{' …' if len(found) > _LISTED else ''}" if found else "it has no columns"
