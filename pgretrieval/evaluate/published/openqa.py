"""Open-domain questions: DPR's psgs_w100.tsv with SET-test.qa.csv, or ColBERT's qas.json instead of the latter."""

from __future__ import annotations

import ast
import csv
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from pgretrieval.errors import InputError
from pgretrieval.evaluate.published.rows import find_file, held_passages, inside, object_rows, passage_of, put_once, tab_rows
from pgretrieval.evaluate.published.sets import BenchmarkSet, JudgedQueries
from pgretrieval.types import Passage

FILES = {"nq": "nq-test.qa.csv", "trivia": "trivia-test.qa.csv", "squad": "squad1-test.qa.csv"}
"""DPR's file of questions and answers by set."""
_HEADER = "id"


def read_openqa(folder: Path, name: str) -> BenchmarkSet:
    """Read Wikipedia's passages, and the questions of a set."""
    path = find_file(folder, "psgs_w100.tsv", "collection.tsv")
    return BenchmarkSet(partial(_passages, path), {"test": partial(_queries, folder, name)})


def _passages(path: Path) -> Iterator[Passage]:
    """Passages of (id, text, title); DPR's files have a header, and quote texts as csv does."""
    rows = tab_rows(path, "id", "text", "title")
    made = (
        passage_of(where, key, _unquoted(text), _unquoted(title)) for where, (key, text, title) in rows if key.strip() != _HEADER
    )
    yield from held_passages(made, path)


def _unquoted(text: str) -> str:
    return next(csv.reader([text], delimiter="\t"))[0] if text.startswith('"') else text


def _queries(folder: Path, name: str) -> JudgedQueries:
    path = find_file(inside(folder, name), FILES[name], "qas.json")
    answers: dict[str, list[str]] = {}
    texts: dict[str, str] = {}
    for where, key, question, accepted in _lines_of_answers(path):
        if not isinstance(accepted, list) or not accepted or not all(isinstance(answer, str) for answer in accepted):
            msg = f"{where}: the answers are {str(accepted)[:60]!r}; the layout has a list of texts, at least one"
            raise InputError(msg)
        put_once(texts, where, key, question)
        answers[key] = accepted
    return JudgedQueries(texts, answers=answers)


def _lines_of_answers(path: Path) -> Iterator[tuple[str, str, str, Any]]:
    """Yield ("FILE:LINE", question id, question, answers); questions of DPR are numbered from 0."""
    if "qas.json" in path.name:
        for where, row in object_rows(path, question=str, answers=list):
            yield where, str(row.get("qid")), row["question"], row["answers"]
        return
    for number, (where, (question, written)) in enumerate(tab_rows(path, "question", "answers")):
        yield where, str(number), question, _literal(where, _unquoted(written))


def _literal(where: str, written: str) -> Any:
    try:
        return ast.literal_eval(written)
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        msg = f"{where}: the answers {written[:60]!r} are not a list of quoted texts; take the file as DPR publishes it"
        raise InputError(msg) from error
