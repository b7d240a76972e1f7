"""Training sets: files, joined sets, and the columns for trainers."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from pgretrieval.errors import ConfigError, InputError
from pgretrieval.train.tuples import (
    PASSAGES_FILE,
    TUPLES_FILE,
    TrainingSet,
    TrainingTuple,
    as_columns,
    as_lists,
    checked_ways,
    joined,
    judged_texts,
    read_training_set,
    write_training_set,
)

MADE = TrainingSet(
    (TrainingTuple("q1", "one", ("a", "b", "c"), (3.0, 1.0, 2.0)), TrainingTuple("q2", "two", ("b", "c", "a"), (1.0, 0.0, -1.0))),
    {"a": "text a", "b": "text b", "c": "text c"},
)


def test_columns_are_the_texts_in_order() -> None:
    """The positive is first, and scores match their passages."""
    rows = list(as_columns(MADE, 2, scored=True))
    assert rows == [
        {"query": "one", "positive": "text a", "negative_1": "text b", "label": [3.0, 1.0]},
        {"query": "two", "positive": "text b", "negative_1": "text c", "label": [1.0, 0.0]},
    ]
    assert list(as_columns(MADE, 3, scored=False)[0]) == ["query", "positive", "negative_1", "negative_2"]
    lists = as_lists(MADE, 2, [[0.0, -1.0]] * 2)
    assert lists[1] == {"query": "two", "passages": ["text b", "text c"], "labels": [0.0, -1.0]}


def test_joined_sets_keep_their_passages_apart() -> None:
    """Passages of the same id in two corpora stay apart."""
    other = TrainingSet((TrainingTuple("q1", "three", ("a", "b")),), {"a": "other a", "b": "other b"})
    both = joined([MADE, other])
    assert [both.passages[one.passages[0]] for one in both.tuples] == ["text a", "text b", "other a"]
    assert both.ways == 2
    assert not both.scored
    assert joined([MADE]) is MADE


def test_judgements_are_collected_by_text(tmp_path: Path) -> None:
    """Relevant passages are collected by query text over all tuples and sets, and survive saving."""
    made = TrainingSet(
        (
            TrainingTuple("q1", "one", ("a", "c"), relevant=("a", "b", "gone")),
            TrainingTuple("q9", "one", ("d", "c")),
            TrainingTuple("q2", "two", ("c", "a")),
        ),
        {key: f"text {key}" for key in "abcd"},
    )
    write_training_set(tmp_path, made)
    assert read_training_set(tmp_path) == made
    judged = {"one": {"text a", "text b", "text d"}, "two": {"text c"}}
    assert judged_texts(made) == judged
    other = TrainingSet((TrainingTuple("q1", "two", ("a", "c"), relevant=("a", "b")),), {"a": "other a", "b": "b", "c": "c"})
    assert judged_texts(joined([made, other])) == {**judged, "two": {"text c", "other a", "b"}}


def test_ways_are_checked() -> None:
    assert checked_ways(MADE, None) == 3
    assert checked_ways(MADE, 2) == 2
    with pytest.raises(ConfigError, match="ways is 4; give 2 to 3"):
        checked_ways(MADE, 4)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "has no tuples"),
        ("{", r"tuples.jsonl.gz:1: not valid JSON"),
        ('{"query_id": "q"}', "expected an object with query_id, query, passages"),
        ('{"query_id": "q", "query": "x", "passages": ["a", "z"]}', "the passage 'z' is not in passages.jsonl.gz"),
        ('{"query_id": "q", "query": "x", "passages": ["a"]}', "fewer than two passages"),
        ('{"query_id": "q", "query": "x", "passages": ["a", "b"], "scores": [1]}', "2 passages but 1 scores"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, line: str, message: str) -> None:
    records = [{"id": key, "text": text} for key, text in MADE.passages.items()]
    (tmp_path / PASSAGES_FILE).write_bytes(gzip.compress("".join(json.dumps(record) + "\n" for record in records).encode()))
    (tmp_path / TUPLES_FILE).write_bytes(gzip.compress(line.encode()))
    with pytest.raises(InputError, match=message):
        read_training_set(tmp_path)
