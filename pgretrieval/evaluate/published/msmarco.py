"""MS MARCO passage ranking: collection.tsv, queries.dev.small.tsv and qrels.dev.small.tsv."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from pgretrieval.evaluate.published.rows import find_file, held_passages, passage_of, tab_rows, texts_by_id
from pgretrieval.evaluate.published.sets import BenchmarkSet, JudgedQueries
from pgretrieval.evaluate.qrels import read_qrels
from pgretrieval.types import Passage


def read_msmarco(folder: Path, name: str) -> BenchmarkSet:
    """Read the passages and the queries `name`, such as "dev.small", from the unpacked archive."""
    path = find_file(folder, "collection.tsv")
    return BenchmarkSet(partial(_passages, path), {name: partial(_queries, folder, name)})


def _passages(path: Path) -> Iterator[Passage]:
    rows = tab_rows(path, "passage id", "passage")
    yield from held_passages((passage_of(where, key, text) for where, (key, text) in rows), path)


def _queries(folder: Path, name: str) -> JudgedQueries:
    rows = tab_rows(find_file(folder, f"queries.{name}.tsv"), "query id", "query")
    return JudgedQueries(
        texts_by_id((where, key, text) for where, (key, text) in rows), read_qrels(find_file(folder, f"qrels.{name}.tsv"))
    )
