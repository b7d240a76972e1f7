"""Training files of the published ColBERT code: triples, and w-way tuples with a teacher's scores.

Examples are lines `[qid, pid+, pid-, …]` or `[qid, [pid, score], …]` of JSON, or `qid pid+ pid- …` with tabs; the first passage is
the positive. Queries and passages are lines `id text` with tabs, passages also `id text title`, or JSON Lines of this package.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pgretrieval.corpus.jsonl import read_queries
from pgretrieval.corpus.lines import read_lines
from pgretrieval.corpus.reading import read_passages
from pgretrieval.errors import InputError
from pgretrieval.train.tuples import TrainingSet, TrainingTuple
from pgretrieval.types import Passage

_TABS = (".tsv", ".tsv.gz")
_Example = tuple[str, tuple[str, ...], tuple[float, ...] | None]


def read_colbert_files(
    examples: str | os.PathLike[str],
    queries: str | os.PathLike[str],
    collection: str | os.PathLike[str],
    *,
    qrels: Mapping[str, Mapping[str, int]] | None = None,
) -> TrainingSet:
    """Read the tuples of a file of examples, with the texts that they need.

    `qrels` name further relevant passages, which are not negatives of a query. Files may end in .gz. Raises InputError, also for
    queries and passages that the other files lack.
    """
    texts = _queries(Path(queries))
    tuples, used = [], dict[str, str]()  # used ids, with the place of their first use
    for where, (query_id, passages, scores) in _examples(Path(examples)):
        if query_id not in texts:
            msg = f"{where}: the query {query_id!r} is not in {queries}"
            raise InputError(msg)
        for key in passages:
            used.setdefault(key, where)
        relevant = tuple(key for key, grade in (qrels or {}).get(query_id, {}).items() if grade > 0)
        tuples.append(TrainingTuple(query_id, texts[query_id], passages, scores, relevant))
    if not tuples:
        msg = f"{examples}: the file has no examples; write [query id, positive, negative, …] per line"
        raise InputError(msg)
    held = {one.id: one.encoded_text for one in _passages(Path(collection)) if one.id in used}
    missing = next((key for key in used if key not in held), None)
    if missing is not None:
        msg = f"{used[missing]}: the passage {missing!r} is not in {collection}"
        raise InputError(msg)
    return TrainingSet(tuple(tuples), held, {"examples": Path(examples).name, "tuples": len(tuples), "passages": len(held)})


def _examples(path: Path) -> Iterator[tuple[str, _Example]]:
    for where, line in read_lines(path):
        row = line.split("\t") if path.name.endswith(_TABS) else _row(where, line)
        if len(row) < 3:
            msg = f"{where}: found {len(row)} columns; write a query id, the positive and at least one negative"
            raise InputError(msg)
        yield where, _example(where, row)


def _row(where: str, line: str) -> list[Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        msg = f"{where}: not valid JSON ({error}); write [query id, positive, negative, …] per line"
        raise InputError(msg) from error
    if not isinstance(row, list):
        msg = f"{where}: expected a list, found {type(row).__name__}; write [query id, positive, negative, …] per line"
        raise InputError(msg)
    return row


def _example(where: str, row: list[Any]) -> _Example:
    query_id, *passages = row
    if all(_is_id(one) for one in row):
        return str(query_id).strip(), tuple(str(one).strip() for one in passages), None
    if not _is_id(query_id) or not all(isinstance(one, list) and len(one) == 2 and _is_id(one[0]) for one in passages):
        msg = f"{where}: passages are neither ids nor pairs of an id and a score; write one or the other in a line"
        raise InputError(msg)
    try:
        scores = tuple(float(score) for _, score in passages)
    except (TypeError, ValueError) as error:
        msg = f"{where}: a score is not a number ({error}); write [id, score] for each passage"
        raise InputError(msg) from error
    return str(query_id), tuple(str(key) for key, _ in passages), scores


def _is_id(value: Any) -> bool:
    return isinstance(value, (str, int)) and not isinstance(value, bool)


def _queries(path: Path) -> dict[str, str]:
    if path.name.endswith(_TABS):
        return {key: text for _, (key, text, *_) in _tabs(path)}
    return dict(read_queries(path))


def _passages(path: Path) -> Iterator[Passage]:
    if path.name.endswith(_TABS):
        return (Passage(key, text, title=title[0] if title else None) for _, (key, text, *title) in _tabs(path))
    return read_passages(path)


def _tabs(path: Path) -> Iterator[tuple[str, list[str]]]:
    for where, line in read_lines(path):
        columns = [column.strip() for column in line.split("\t")]
        if len(columns) < 2:
            msg = f"{where}: found one column; write an id and a text with a tab between them"
            raise InputError(msg)
        yield where, columns
