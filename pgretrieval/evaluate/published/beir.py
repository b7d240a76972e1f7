"""BEIR: `SET/` with corpus.jsonl, queries.jsonl and qrels/test.tsv."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from pgretrieval.evaluate.published.rows import find_file, held_passages, inside, object_rows, passage_of, texts_by_id
from pgretrieval.evaluate.published.sets import BenchmarkSet, JudgedQueries
from pgretrieval.evaluate.qrels import read_qrels
from pgretrieval.types import Passage


def read_beir(folder: Path, name: str) -> BenchmarkSet:
    """Read a set from the folder that contains it, or from its own folder."""
    place = inside(folder, name)
    path = find_file(place, "corpus.jsonl")
    return BenchmarkSet(partial(_passages, path), {"test": partial(_queries, place)})


def _passages(path: Path) -> Iterator[Passage]:
    rows = object_rows(path, _id=str, text=str)
    made = (passage_of(where, row["_id"], row["text"], str(row.get("title") or "")) for where, row in rows)
    yield from held_passages(made, path)


def _queries(place: Path) -> JudgedQueries:
    rows = object_rows(find_file(place, "queries.jsonl"), _id=str, text=str)
    return JudgedQueries(
        texts_by_id((where, row["_id"], row["text"]) for where, row in rows), read_qrels(find_file(place, "qrels/test.tsv"))
    )
