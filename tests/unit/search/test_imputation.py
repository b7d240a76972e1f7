"""Retrieved tokens on hand-made similarities."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgretrieval.search.imputation import (
    TokenScores,
    imputed_scores,
    last_retrieved,
    retrieved_tokens,
    score_passages,
    warp_scores,
)
from pgretrieval.search.options import read_options
from pgretrieval.search.xtr import XtrSettings, choose_settings
from pgretrieval.types import Scoring

UNSEEN = -np.inf
SIMILARITY = np.array([[0.9, 0.5, 0.5, 0.1], [0.2, UNSEEN, 0.3, UNSEEN], [UNSEEN] * 4], dtype=np.float32)
PASSAGES = np.array([1, 1, 2, 3], dtype=np.int32)


def test_the_best_of_each_query_token():
    """Each query token retrieves its best tokens; ties are broken by order."""
    assert retrieved_tokens(SIMILARITY, 2).tolist() == [[True, True, False, False], [True, False, True, False], [False] * 4]
    assert retrieved_tokens(SIMILARITY, 3).sum(axis=1).tolist() == [3, 2, 0]
    assert retrieved_tokens(SIMILARITY, 100).sum(axis=1).tolist() == [4, 2, 0]


@given(
    rows=st.lists(st.lists(st.sampled_from([UNSEEN, -1.0, 0.0, 0.5, 1.0]), min_size=6, max_size=6), min_size=1, max_size=4),
    k=st.integers(1, 8),
)
def test_at_most_the_requested_number_is_retrieved(rows: list[list[float]], k: int):
    """Exactly the requested number is retrieved, also with ties at the end, or all tokens if fewer."""
    similarity = np.array(rows, dtype=np.float32)
    retrieved = retrieved_tokens(similarity, k)
    for row, chosen in zip(rows, retrieved.tolist(), strict=True):
        seen = sorted((-score, place) for place, score in enumerate(row) if score > UNSEEN)
        assert [place for place, taken in enumerate(chosen) if taken] == sorted(place for _, place in seen[:k])


def test_the_last_retrieved_score():
    """The last retrieved score is that of the query token, or 0 if nothing was retrieved."""
    assert last_retrieved(SIMILARITY, retrieved_tokens(SIMILARITY, 2)).tolist() == pytest.approx([0.5, 0.2, 0])


def test_no_token_at_all():
    """An index without passages retrieves nothing."""
    empty = np.empty((3, 0), dtype=np.float32)
    retrieved = retrieved_tokens(empty, 5)
    missed = imputed_scores("kth", empty, retrieved, None)
    scored = score_passages(empty, retrieved, missed, np.empty(0, dtype=np.int32))
    assert scored.retrieved == 0
    assert scored.of(np.array([4, 5], dtype=np.int32)).tolist() == [0, 0]


def test_scores_and_imputed_scores():
    """A passage's best retrieved token counts; imputation applies only where none was retrieved."""
    retrieved = retrieved_tokens(SIMILARITY, 2)
    scored = score_passages(SIMILARITY, retrieved, np.array([0.4, 0.1, 7], dtype=np.float32), PASSAGES)
    assert scored.passage_ids.tolist() == [1, 2]
    assert scored.scores.tolist() == pytest.approx([0.9 + 0.2 + 7, 0.4 + 0.3 + 7])
    assert scored.of(np.array([3, 2, 1, 0], dtype=np.int32)).tolist() == pytest.approx([7.5, 7.7, 8.1, 7.5])
    assert scored.retrieved == 4


@pytest.mark.parametrize(("imputation", "expected"), [("kth", [0.5, 0.2, 0]), ("zero", [0, 0, 0]), (0.25, [0.25] * 3)])
def test_imputations(imputation: str | float, expected: list[float]):
    """Each imputation gives its own value."""
    retrieved = retrieved_tokens(SIMILARITY, 2)
    assert imputed_scores(imputation, SIMILARITY, retrieved, None).tolist() == pytest.approx(expected)


def test_walked_centroids():
    """The walk starts at the best centroid and ends in small collections."""
    scores = np.array([[0.9, 0.1, 0.5], [0.1, 0.2, 0.3]], dtype=np.float32)
    assert warp_scores(scores, np.array([100, 100, 100])).tolist() == pytest.approx([0.9, 0.3])  # budget 48.98
    assert warp_scores(scores, np.array([10, 500, 20])).tolist() == pytest.approx([0.1, 0.2])  # budget 65.1
    assert warp_scores(scores, np.array([1, 1, 1])).tolist() == pytest.approx([0.1, 0.1])  # 4.9, more than there are


def test_unknown_passages_score_as_those_without_a_retrieved_token():
    """Unknown passages, also beyond the last known one, have the score of passages without a retrieved token."""
    scored = TokenScores(np.array([2], dtype=np.int32), np.array([9], dtype=np.float32), 1.0, 1)
    assert scored.of(np.array([1, 2, 3], dtype=np.int32)).tolist() == [1, 9, 1]


def test_defaults_follow_from_the_scorer():
    """XTR averages over the query tokens, ColXTR sums, and both rerank as the collection specifies."""

    def settings(k: int, scoring: Scoring, **options: Any) -> XtrSettings:
        return choose_settings(k, read_options(scoring, k, options).scan.options)

    xtr, colxtr = settings(10, Scoring("xtr")), settings(10, Scoring("colxtr", "maxsim"))
    assert (xtr.reduction, xtr.rerank, xtr.rerank_depth) == ("mean", "none", 128)
    assert (colxtr.reduction, colxtr.rerank, colxtr.probes, colxtr.k_tokens, colxtr.seen) == ("sum", "maxsim", None, 300, 1200)
    assert settings(100, Scoring("xtr")).rerank_depth == 500
    options = {"k_tokens": 5, "imputation": 0.0, "reduction": "sum", "probes": 3, "rerank_depth": 20}
    asked = settings(10, Scoring("xtr", "maxsim"), **options)
    assert (asked.probes, asked.k_tokens, asked.imputation, asked.reduction, asked.rerank_depth) == (3, 5, 0.0, "sum", 20)
    assert asked.seen == 0
