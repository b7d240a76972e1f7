"""LoTTE: `TOPIC/SPLIT/` with collection.tsv, questions.{search,forum}.tsv and qas.{search,forum}.jsonl."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from pgretrieval.errors import InputError
from pgretrieval.evaluate.published.rows import (
    find_file,
    held_passages,
    inside,
    object_rows,
    passage_of,
    put_once,
    tab_rows,
    texts_by_id,
)
from pgretrieval.evaluate.published.sets import BenchmarkSet, JudgedQueries, Qrels
from pgretrieval.types import Passage

KINDS = ("search", "forum")


def read_lotte(folder: Path, name: str) -> BenchmarkSet:
    """Read the set `name`, such as "writing/test", from the unpacked archive or from the folder of the set itself."""
    place = inside(folder, f"lotte/{name}", name)
    path = find_file(place, "collection.tsv")
    return BenchmarkSet(partial(_passages, path), {kind: partial(_queries, place, kind) for kind in KINDS})


def _passages(path: Path) -> Iterator[Passage]:
    rows = tab_rows(path, "passage id", "passage")
    yield from held_passages((passage_of(where, key, text) for where, (key, text) in rows), path)


def _queries(place: Path, kind: str) -> JudgedQueries:
    questions, answers = find_file(place, f"questions.{kind}.tsv"), find_file(place, f"qas.{kind}.jsonl")
    texts = texts_by_id((where, key, text) for where, (key, text) in tab_rows(questions, "query id", "query"))
    qrels: Qrels = {}
    for where, row in object_rows(answers, qid=int, answer_pids=list):
        query = str(row["qid"])
        if query not in texts:
            msg = f"{where}: query {query} is not in {questions.name}; take both files from one download"
            raise InputError(msg)
        put_once(qrels, where, query, {str(passage): 1 for passage in row["answer_pids"]})
    return JudgedQueries(texts, qrels)
