"""Passages and queries from JSON Lines files, plain or gzip."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

from pgretrieval.corpus.lines import read_lines
from pgretrieval.corpus.validate import to_passage
from pgretrieval.errors import InputError
from pgretrieval.types import Passage


def read_passages(path: str | os.PathLike[str]) -> Iterator[Passage]:
    """Yield the passages of a .jsonl or .jsonl.gz file, one object per line: id (or _id), text, title?, metadata?."""
    empty = True
    for where, record in _read_objects(path):
        yield to_passage(record, where)
        empty = False
    if empty:
        raise InputError(f"{path}: the file has no passages; write one JSON object per line")


def read_queries(path: str | os.PathLike[str]) -> list[tuple[str, str]]:
    """The (id, text) pairs of a .jsonl or .jsonl.gz file, in file order; ids and texts obey the rules of passages."""
    queries: list[tuple[str, str]] = []
    places: dict[str, str] = {}
    for where, record in _read_objects(path):
        query = to_passage({**record, "title": None, "metadata": None}, where)
        if query.id in places:
            raise InputError(f"{where}: the query id {query.id!r} is at {places[query.id]} already; rename one")
        places[query.id] = where
        queries.append((query.id, query.text))
    if not queries:
        raise InputError(f"{path}: the file has no queries; write one JSON object per line")
    return queries


def _read_objects(path: str | os.PathLike[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    for where, line in read_lines(path):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{where}: not valid JSON ({error}); write one JSON object per line") from error
        if not isinstance(record, dict):
            raise InputError(f"{where}: expected a JSON object, found {type(record).__name__}; write {{…}} per line")
        yield where, record
