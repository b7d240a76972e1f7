"""Evaluation of a search: requested depth, recorded results, excluded hits."""

from __future__ import annotations

import numpy as np
import pytest

from pgretrieval.evaluate.evaluation import evaluate_search, fidelities
from pgretrieval.evaluate.runs import without_identical
from pgretrieval.types import Float32Array, Hit

QUERIES = {"b": "second", "z": "none"}


def searched(asked: list[int], *, drop_identical: bool) -> object:
    """Every search finds a, b, c, … in this order."""

    def search(_vectors: Float32Array, k: int) -> list[Hit]:
        asked.append(k)
        return [Hit(rank, key, 1 / rank, None, "text", {}) for rank, key in enumerate("abcdefgh"[:k], start=1)]

    return evaluate_search(QUERIES, [2, 4], lambda _text: np.zeros((1, 2), dtype=np.float32), search, drop_identical=drop_identical)


def test_k_are_left_without_the_passage_of_the_query():
    """Without the query's own passage k hits remain, with their scores."""
    asked: list[int] = []
    outcome = searched(asked, drop_identical=True)
    assert set(asked) == {3, 5}
    assert outcome.rankings == {2: {"b": ["a", "c"], "z": ["a", "b"]}, 4: {"b": ["a", "c", "d", "e"], "z": ["a", "b", "c", "d"]}}
    assert outcome.scores[2]["b"] == pytest.approx([1, 1 / 3])
    assert outcome.dropped == 1
    assert outcome.deepest()["b"] == [("a", 1.0), ("c", 1 / 3), ("d", 1 / 4), ("e", 1 / 5)]


def test_nothing_is_left_out_unasked():
    """Hits with the query's id are kept by default."""
    asked: list[int] = []
    outcome = searched(asked, drop_identical=False)
    assert (set(asked), outcome.dropped) == ({2, 4}, 0)
    assert outcome.rankings[2]["b"] == ["a", "b"]


def test_times_runs_and_fidelity():
    """All times are counted once, and fidelity is measured at the requested depth."""
    outcome = searched([], drop_identical=False)
    assert [len(outcome.search_ms[k]) for k in (2, 4)] == [2, 2] == [len(outcome.encode_ms)] * 2
    assert set(outcome.milliseconds()) == {"encode", "search", "search@2", "search@4"}
    assert outcome.milliseconds()["search"] == outcome.milliseconds()["search@2"]
    assert list(outcome.runs()[4]["b"]) == ["a", "b", "c", "d"]
    exact = {"b": ["a", "c", "b", "d", "e"], "z": ["x", "y", "a", "b", "c"]}
    assert fidelities(outcome, exact, [2, 4]) == pytest.approx({"fidelity@2": 0.25, "fidelity@4": 0.75})


def test_runs_without_the_passage_of_the_query():
    """Only the query's own passage is left out, and the count of such hits is returned."""
    run = {"b": {"a": 1.0, "b": 0.5}, "z": {"b": 1.0}}
    assert without_identical(run) == ({"b": {"a": 1.0}, "z": {"b": 1.0}}, 1)
