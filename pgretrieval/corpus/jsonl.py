"""Objects and queries from JSON Lines files, plain or gzip."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from typing import Any

from pgretrieval.corpus.lines import read_lines
from pgretrieval.corpus.validate import to_passage
from pgretrieval.errors import InputError


def read_queries(path: str | os.PathLike[str], name: str | None = None) -> list[tuple[str, str]]:
    """Read the (id, text) pairs of a .jsonl or .jsonl.gz file, in file order; ids and texts obey the rules of passages.

    `name` is what errors call the file.
    """
    queries: list[tuple[str, str]] = []
    places: dict[str, str] = {}
    for where, record in read_objects(path, name):
        query = to_passage({**record, "title": None, "metadata": None}, where)
        if query.id in places:
            raise InputError(f"{where}: the query id {query.id!r} occurs at {places[query.id]}, too; rename one")
        places[query.id] = where
        queries.append((query.id, query.text))
    if not queries:
        raise InputError(f"{name or path}: the file has no queries; write one JSON object per line")
    return queries


def read_objects(path: str | os.PathLike[str], name: str | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield ("FILE:LINE", object) for each line. Raises InputError for other JSON."""
    for where, line in read_lines(path, name):
        try:
            record = parse(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{where}: not valid JSON ({error}); write one JSON object per line") from error
        if not isinstance(record, dict):
            raise InputError(f"{where}: expected a JSON object, found {type(record).__name__}; write {{…}} per line")
        yield where, record


def parse(written: str) -> Any:
    """Return a JSON value. Raises ValueError also for repeated keys and for numbers beyond the range of a float."""
    return json.loads(written, parse_float=_number, object_pairs_hook=_object)


def _number(written: str) -> float:
    """Return a float. Raises ValueError for numbers beyond its range."""
    number = float(written)
    if math.isinf(number):
        msg = f"the number {written[:40]} exceeds the range of a float; write it as a text"
        raise ValueError(msg)
    return number


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object. Raises ValueError for repeated keys, of which one would be lost."""
    made = dict(pairs)
    if len(made) < len(pairs):
        twice = next(key for number, (key, _) in enumerate(pairs) if key in dict(pairs[:number]))
        msg = f"the key {twice[:60]!r} occurs twice in one object"
        raise ValueError(msg)
    return made
