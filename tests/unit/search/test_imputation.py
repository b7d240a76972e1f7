"""Retrieved tokens on hand-made similarities."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgretrieval.search.imputation import TokenScores, imputed, retrieve, score_retrieved, warp_scores
from pgretrieval.search.options import read_options
from pgretrieval.search.xtr import XtrSettings, choose_settings
from pgretrieval.types import Scoring
from tests.support.scores import scores_of

SIMILARITY = np.array([[0.9, 0.2], [0.5, -0.1], [0.5, 0.3], [0.1, 0.0]], dtype=np.float32)
PASSAGES = np.array([1, 1, 2, 3], dtype=np.int32)


def retrieved_by(similarity: Any, k: int, passages: Any = PASSAGES) -> list[list[tuple[float, int]]]:
    """For each query token the scores and positions of its tokens, best first."""
    found = retrieve(np.asarray(similarity, dtype=np.float32), len(similarity[0]), k, np.asarray(passages, dtype=np.int32))
    by_query: list[list[tuple[float, int]]] = [[] for _ in similarity[0]]
    for token, query_token, score in zip(*(part.tolist() for part in found), strict=True):
        by_query[query_token].append((round(score, 5), token))
    return by_query


def test_the_best_of_each_query_token():
    assert retrieved_by(SIMILARITY, 1) == [[(0.9, 0)], [(0.3, 2)]]
    assert sorted(retrieved_by(SIMILARITY, 3)[0]) == [(0.5, 1), (0.5, 2), (0.9, 0)]
    assert retrieved_by(SIMILARITY, 3)[1] == [(0.3, 2), (0.2, 0), (0.0, 3)]


def test_ties_at_the_end_go_to_the_smaller_passage():
    """The order of the tokens does not matter."""
    assert retrieved_by(SIMILARITY, 2, [9, 8, 7, 6])[0] == [(0.9, 0), (0.5, 2)]
    assert retrieved_by(SIMILARITY, 2, [9, 7, 8, 6])[0] == [(0.9, 0), (0.5, 1)]


@given(
    rows=st.lists(st.lists(st.sampled_from([-1.0, 0.0, 0.5, 1.0]), min_size=3, max_size=3), min_size=2, max_size=40),
    k=st.integers(1, 39),
)
def test_as_many_are_retrieved_as_asked_for(rows: list[list[float]], k: int):
    """They are the first of all tokens by score and passage."""
    k = min(k, len(rows) - 1)
    passages = np.arange(len(rows))[::-1]
    for place, column in enumerate(zip(*rows, strict=True)):
        expected = sorted(range(len(rows)), key=lambda token: (-column[token], passages[token]))[:k]
        assert sorted(token for _, token in retrieved_by(rows, k, passages)[place]) == sorted(expected)


@pytest.mark.parametrize("k", [1, 30, 300, 2000])
def test_of_many_tokens_the_best_are_retrieved(k: int):
    """Blocks' maxima choose the same as a full sort does."""
    similarity = np.random.default_rng(k).normal(size=(10_001, 5)).astype(np.float32)
    passages = np.arange(10_001, dtype=np.int32)
    found = retrieve(np.pad(similarity, ((0, 0), (0, 3)), constant_values=9), 5, k, passages)
    expected = np.argsort(-similarity, axis=0, kind="stable")[:k].T
    np.testing.assert_array_equal(np.sort(found.tokens.reshape(5, k)), np.sort(expected))
    np.testing.assert_array_equal(found.scores, similarity[found.tokens, found.query_tokens])


@pytest.mark.parametrize("imputation", ["kth", "zero", 0.25])
@pytest.mark.parametrize("k", [1, 7, 60, 500, 10_000])
def test_scores_are_those_of_plain_loops(imputation: str | float, k: int):
    """XTR, equation 5: the best retrieved token of a passage counts, imputation where none was retrieved."""
    rng = np.random.default_rng(k)
    similarity = rng.normal(size=(600, 3)).astype(np.float32)
    passages = rng.integers(0, 90, 600).astype(np.int32)
    best: list[dict[int, float]] = []
    missed = []
    for column in similarity.T.tolist():
        taken = sorted(zip(column, passages.tolist(), strict=True), reverse=True)[:k]
        best.append({passage: max(score for score, of in taken if of == passage) for _, passage in taken})
        missed.append({"kth": taken[-1][0], "zero": 0.0}.get(str(imputation), imputation))
    found = score_retrieved(np.pad(similarity, ((0, 0), (0, 2))), 3, k, passages, imputation, None)
    expected = {
        passage: sum(of.get(passage, miss) for of, miss in zip(best, missed, strict=True)) for passage in set().union(*best)
    }
    assert dict(zip(found.passage_ids.tolist(), found.scores.tolist(), strict=True)) == pytest.approx(expected, abs=1e-5)
    assert found.passage_ids.tolist() == sorted(expected)
    assert found.others == pytest.approx(sum(missed), abs=1e-5)
    assert found.retrieved == 3 * min(k, 600)


def test_no_token_at_all():
    """An index without passages retrieves nothing."""
    for imputation, others in (("kth", 0.0), ("zero", 0.0), (0.25, 0.75)):
        nothing = np.empty(0, dtype=np.int32)
        scored = score_retrieved(np.empty((0, 3), dtype=np.float32), 3, 5, nothing, imputation, None)
        assert (scored.retrieved, len(scored.passage_ids)) == (0, 0)
        assert scored.of(np.array([4, 5], dtype=np.int32)).tolist() == [others] * 2


def test_passages_without_a_retrieved_token_score_what_is_imputed():
    scored = score_retrieved(SIMILARITY, 2, 2, PASSAGES, "warp", np.array([0.4, 0.1], dtype=np.float32))
    assert scored.passage_ids.tolist() == [1, 2]
    assert scored.scores.tolist() == pytest.approx([0.9 + 0.2, 0.4 + 0.3])
    assert scored.of(np.array([3, 2, 1, 0], dtype=np.int32)).tolist() == pytest.approx([0.5, 0.7, 1.1, 0.5])


@pytest.mark.parametrize(("imputation", "expected"), [("kth", [0.5, 0.2]), ("zero", [0, 0]), (0.25, [0.25] * 2)])
def test_imputations(imputation: str | float, expected: list[float]):
    last = np.array([0.5, 0.2], dtype=np.float32)
    assert imputed(imputation, last, None).tolist() == pytest.approx(expected)
    assert imputed("warp", last, last + 1).tolist() == pytest.approx([1.5, 1.2])


def test_walked_centroids():
    """The walk starts at the best centroid and ends in small collections, at the last centroid that has tokens."""
    scores = scores_of([[0.9, 0.1, 0.5, 0.0], [0.1, 0.2, 0.3, 0.0]])
    assert warp_scores(scores, np.array([100, 100, 100, 0])).tolist() == pytest.approx([0.9, 0.3])  # budget 48.98
    assert warp_scores(scores, np.array([10, 500, 20, 0])).tolist() == pytest.approx([0.1, 0.2])  # budget 65.1
    assert warp_scores(scores, np.array([1, 1, 1, 0])).tolist() == pytest.approx([0.1, 0.1])  # 4.9, more than there are
    assert warp_scores(scores, np.array([0, 0, 0, 0])).tolist() == [0, 0]


def test_unknown_passages_score_as_those_without_a_retrieved_token():
    """Unknown passages, also beyond the last known one, have the score of passages without a retrieved token."""
    scored = TokenScores(np.array([2], dtype=np.int32), np.array([9], dtype=np.float32), np.array([1], dtype=np.float32), 1)
    assert scored.of(np.array([1, 2, 3], dtype=np.int32)).tolist() == [1, 9, 1]


def test_defaults_follow_from_the_scorer():
    """Both rerank as the collection specifies; the depth follows from k."""

    def settings(k: int, scoring: Scoring, **options: Any) -> XtrSettings:
        return choose_settings(k, read_options(scoring, k, options).scan.options)

    xtr, colxtr = settings(10, Scoring("xtr")), settings(10, Scoring("colxtr", "maxsim"))
    assert (xtr.rerank, xtr.rerank_depth) == ("none", 128)
    assert (colxtr.rerank, colxtr.probes, colxtr.k_tokens, colxtr.seen) == ("maxsim", None, 300, 1200)
    assert settings(100, Scoring("xtr")).rerank_depth == 500
    options = {"k_tokens": 5, "imputation": 0.0, "probes": 3, "rerank_depth": 20}
    asked = settings(10, Scoring("xtr", "maxsim"), **options)
    assert (asked.probes, asked.k_tokens, asked.imputation, asked.rerank_depth) == (3, 5, 0.0, 20)
    assert asked.seen == 0
