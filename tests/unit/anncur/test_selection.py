"""Pivot selection after the first columns explain the others, at any scale of the scores."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
from scipy.linalg import qr

from pgretrieval.anncur.selection import choose_anchors, pivots

RANK, QUERIES, ITEMS = 6, 40, 90


def in_turns(scores: np.ndarray, rank: int, count: int) -> list[int]:
    """Pivots of LAPACK's QR up to the rank, then those of the remaining columns, and so on."""
    left, chosen = list(range(scores.shape[1])), []
    while len(chosen) < count:
        pivoted = qr(scores[:, left], pivoting=True, mode="r")[1][: min(rank, len(left))]
        taken = [left[place] for place in pivoted]
        chosen += taken
        left = [column for column in left if column not in taken]
    return chosen[:count]


@pytest.fixture
def low_rank() -> np.ndarray:
    rng = np.random.default_rng(2)
    return rng.standard_normal((QUERIES, RANK)) @ rng.standard_normal((RANK, ITEMS))


@pytest.mark.parametrize("size", [2.0**-25, 2.0**-12, 1.0, 2.0**25])
def test_pivots_begin_again_once_all_columns_are_explained(low_rank: np.ndarray, size: float) -> None:
    """Pivoting starts again when all columns are explained, judged relative to their size."""
    assert pivots(low_rank * size, 30).tolist() == in_turns(low_rank, RANK, 30)


def test_short_columns_are_measured_by_their_own_length() -> None:
    """A short column that the others do not explain precedes copies of theirs."""
    scores = np.zeros((4, 6))
    scores[0, :3] = [2.0**17, 2.0**16, 2.0**15]
    scores[1, 3] = 2.0**-5
    scores[2, 4:] = [2.0**-6, 2.0**-7]
    assert pivots(scores, 6).tolist() == [0, 3, 4, 1, 5, 2]


def test_nearly_equal_columns_are_distinguished() -> None:
    """The small independent part of a column survives rounding."""
    rng = np.random.default_rng(3)
    own = np.linalg.qr(rng.standard_normal((QUERIES, 13)))[0]
    scores = 1000 * own[:, :1] + own[:, 1:] * (0.01 * np.arange(12, 0, -1))
    chosen = pivots(scores, 12).tolist()
    assert chosen == qr(scores, pivoting=True, mode="r")[1].tolist()
    for count in range(2, 13):
        assert np.linalg.matrix_rank(scores[:, chosen[:count]], tol=1e-3) == count


@pytest.mark.parametrize("selection", ["random", "top", "kmeans"])
def test_selections_are_ordered_by_information(low_rank: np.ndarray, selection: Any) -> None:
    """Anchors are ordered by information in every selection, so small budgets score no copies."""
    choose = partial(choose_anchors, low_rank, 25, selection, 4, lambda count: np.arange(count) * 2)
    chosen = choose().tolist()
    among = sorted(chosen)
    assert [among[place] for place in in_turns(low_rank[:, among], RANK, 25)] == chosen


@pytest.mark.parametrize("selection", ["greedy", "random", "top"])
def test_there_are_as_many_anchors_as_asked_for_or_items(low_rank: np.ndarray, selection: Any) -> None:
    """The requested number of distinct anchors is returned, also with fewer queries; at most all items."""
    for count, expected in ((1, 1), (60, 60), (90, 90), (500, 90)):
        chosen = choose_anchors(low_rank, count, selection, 0)
        assert (len(chosen), len(set(chosen.tolist()))) == (expected, expected)
