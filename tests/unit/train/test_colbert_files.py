"""Training files of the published ColBERT code."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from pgretrieval.errors import InputError
from pgretrieval.train.colbert_files import read_colbert_files
from pgretrieval.train.tuples import TrainingTuple

QUERIES = "7\thow hot is tea\n8\twhy does bread rise\n"
COLLECTION = "0\tTea is hot.\n1\tBread rises.\tBaking\n2\tMoney.\n3\tNever used.\n"
SCORED = [[7, [0, 3.5], [1, -1], [2, 0.25]], [8, [1, 9], [2, 1.5], [0, 0]]]


def written(folder: Path, examples: str, name: str = "examples.jsonl") -> tuple[Path, Path, Path]:
    """The files of a training, with tabs as in the published collections."""
    for file, text in ((name, examples), ("queries.tsv", QUERIES), ("collection.tsv", COLLECTION)):
        (folder / file).write_bytes(gzip.compress(text.encode()) if file.endswith(".gz") else text.encode())
    return folder / name, folder / "queries.tsv", folder / "collection.tsv"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("triples.jsonl", "[7, 0, 1]\n[8, 1, 2]\n"),
        ("triples.jsonl", '["7", "0", "1"]\n["8", "1", "2"]\n'),
        ("triples.tsv", "7\t0\t1\n8\t1\t2\n"),
        ("triples.tsv.gz", "7\t0\t1\n8\t1\t2\n"),
    ],
)
def test_triples(tmp_path: Path, name: str, text: str) -> None:
    """Triples are tuples of two ways without scores; only used passages are held, with their titles."""
    made = read_colbert_files(*written(tmp_path, text, name))
    assert made.tuples == (TrainingTuple("7", "how hot is tea", ("0", "1")), TrainingTuple("8", "why does bread rise", ("1", "2")))
    assert made.passages == {"0": "Tea is hot.", "1": "Baking Bread rises.", "2": "Money."}
    assert (made.ways, made.scored, made.settings["examples"]) == (2, False, name)


def test_tuples_with_scores(tmp_path: Path) -> None:
    """w-way files keep the teacher's scores and the order, and judgements name relevant passages."""
    files = written(tmp_path, "".join(json.dumps(row) + "\n" for row in SCORED))
    made = read_colbert_files(*files, qrels={"7": {"0": 1, "2": 1, "1": 0}})
    assert (made.ways, made.scored) == (3, True)
    assert made.tuples[0] == TrainingTuple("7", "how hot is tea", ("0", "1", "2"), (3.5, -1.0, 0.25), ("0", "2"))
    assert made.tuples[1] == TrainingTuple("8", "why does bread rise", ("1", "2", "0"), (9.0, 1.5, 0.0))


def test_texts_can_be_in_json(tmp_path: Path) -> None:
    """Queries and passages may be in this package's files."""
    examples, queries, collection = (tmp_path / name for name in ("triples.jsonl", "queries.jsonl", "corpus.jsonl"))
    examples.write_text('["q", "a", "b"]\n')
    queries.write_text('{"id": "q", "text": "tea"}\n')
    collection.write_text('{"id": "a", "title": "Hot", "text": "tea"}\n{"id": "b", "text": "money"}\n')
    made = read_colbert_files(examples, queries, collection)
    assert made.tuples == (TrainingTuple("q", "tea", ("a", "b")),)
    assert made.passages == {"a": "Hot tea", "b": "money"}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("e.jsonl", "[7, 0, 1]\n[9, 0, 1]\n", r"e.jsonl:2: the query '9' is not in .*queries.tsv"),
        ("e.jsonl", "[7, 0, 1]\n[8, 0, 44]\n", r"e.jsonl:2: the passage '44' is not in .*collection.tsv"),
        ("e.jsonl", "[7, 0]\n", r"e.jsonl:1: found 2 columns"),
        ("e.tsv", "7 0 1\n", r"e.tsv:1: found 1 columns"),
        ("e.jsonl", "[7, 0, [1, 2]]\n", r"e.jsonl:1: passages are neither ids nor pairs"),
        ("e.jsonl", '[7, [0, "x"], [1, 2]]\n', r"e.jsonl:1: a score is not a number"),
        ("e.jsonl", "[7, 0, true]\n", r"e.jsonl:1: passages are neither"),
        ("e.jsonl", '{"qid": 7}\n', r"e.jsonl:1: expected a list, found dict"),
        ("e.jsonl", "[7, 0\n", r"e.jsonl:1: not valid JSON"),
        ("e.jsonl", "\n", r"e.jsonl: the file has no examples"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_colbert_files(*written(tmp_path, text, name))


def test_texts_need_a_tab(tmp_path: Path) -> None:
    examples, queries, collection = written(tmp_path, "[7, 0, 1]\n")
    collection.write_text("0 Tea\n")
    with pytest.raises(InputError, match=r"collection.tsv:1: found one column"):
        read_colbert_files(examples, queries, collection)
