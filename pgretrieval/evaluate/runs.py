"""Run files: the results of a system for each query, in the six columns of TREC."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeAlias

from pgretrieval.corpus.lines import read_lines
from pgretrieval.errors import InputError

Run: TypeAlias = dict[str, dict[str, float]]
"""Scores by query id and passage id, best first."""

_TAG = "pgretrieval"


def read_run(path: str | os.PathLike[str], name: str | None = None) -> Run:
    """Read a plain or gzip file of lines "query Q0 passage rank score tag"; scores decide the order, and ranks break ties.

    `name` is the name of the file in errors.
    """
    found: dict[str, list[tuple[float, int, str]]] = {}
    for where, line in read_lines(path, name):
        columns = line.split()
        if len(columns) != 6:
            msg = f"{where}: found {len(columns)} columns; write six with spaces: query Q0 passage rank score tag"
            raise InputError(msg)
        query_id, _, passage_id, rank, score, _ = columns
        found.setdefault(query_id, []).append((-_number(score, where), int(_number(rank, where)), passage_id))
    if not found:
        msg = f"{name or path}: the file has no results; write one query, passage, rank and score per line"
        raise InputError(msg)
    return {query_id: _scores(query_id, sorted(rows), name or path) for query_id, rows in found.items()}


def write_run(path: str | os.PathLike[str], run: Mapping[str, Iterable[tuple[str, float]]]) -> None:
    """Write passages and scores of each query, best first, as a run file. Raises InputError for an id with white space."""
    lines = []
    for query_id, hits in run.items():
        for rank, (passage_id, score) in enumerate(hits, start=1):
            for key in (query_id, passage_id):
                if len(key.split()) != 1 or key.split()[0] != key:
                    msg = f"the id {key!r} contains white space, which run files cannot represent; rename it, or write no run file"
                    raise InputError(msg)
            lines.append(f"{query_id} Q0 {passage_id} {rank} {score!r} {_TAG}\n")
    Path(path).write_text("".join(lines), encoding="utf-8")


def without_identical(run: Run) -> tuple[Run, int]:
    """Return the run without passages that have the id of their query, and the number of removed passages."""
    kept = {query_id: {key: score for key, score in hits.items() if key != query_id} for query_id, hits in run.items()}
    return kept, sum(map(len, run.values())) - sum(map(len, kept.values()))


def _scores(query_id: str, rows: list[tuple[float, int, str]], path: str | os.PathLike[str]) -> dict[str, float]:
    scores = {passage_id: -negative for negative, _, passage_id in rows}
    if len(scores) != len(rows):
        msg = f"{path}: a passage occurs twice for query {query_id!r}; keep only the better line"
        raise InputError(msg)
    return scores


def _number(written: str, where: str) -> float:
    try:
        number = float(written)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        msg = f"{where}: {written!r} is not a finite number; give finite numbers for rank and score"
        raise InputError(msg)
    return number
