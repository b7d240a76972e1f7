from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from pgretrieval.errors import InputError
from pgretrieval.evaluate.runs import read_run, write_run


def test_runs_are_read_as_written(tmp_path: Path):
    """A run file is read as written, with full scores and order."""
    run = {"q1": [("d2", 10 / 3), ("d1", 1.5), ("d3", 1.5)], "q2": [("d9", -0.25)]}
    write_run(tmp_path / "run.trec", run)
    read = read_run(tmp_path / "run.trec")
    assert {query: list(scores.items()) for query, scores in read.items()} == run
    first = (tmp_path / "run.trec").read_text().splitlines()[0]
    assert first == "q1 Q0 d2 1 3.3333333333333335 pgretrieval"


def test_scores_decide_and_then_ranks(tmp_path: Path):
    """Passages are ordered by score, then by rank, not by line."""
    path = tmp_path / "run.gz"
    path.write_bytes(gzip.compress(b"q Q0 a 3 1.0 x\nq Q0 b 1 0.5 x\nq Q0 c 2 1.0 x\nq Q0 d 4 2e0 x\n"))
    assert list(read_run(path)["q"]) == ["d", "c", "a", "b"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "has no results"),
        ("q Q0 a 1 1.0\n", r"run:1: found 5 columns; write six"),
        ("q Q0 a 1 best x\n", "'best' is not a finite number"),
        ("q Q0 a 1 nan x\n", "'nan' is not a finite number"),
        ("q Q0 a 1 1.0 x\nq Q0 a 2 0.5 x\n", "a passage occurs twice for query 'q'"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, content: str, message: str):
    (tmp_path / "run").write_text(content)
    with pytest.raises(InputError, match=message):
        read_run(tmp_path / "run")


def test_ids_with_white_space_are_refused(tmp_path: Path):
    """An id with white space, which would shift the columns, is refused."""
    with pytest.raises(InputError, match="the id 'a b' contains white space"):
        write_run(tmp_path / "run", {"q": [("a b", 1.0)]})
    assert not (tmp_path / "run").exists()
