"""Call budgets of a cross-encoder, reranked hits, and argument checks of a factorisation."""

from __future__ import annotations

from typing import Any

import pytest

from pgretrieval.anncur.budget_search import CallBudget, rerank
from pgretrieval.anncur.factorize import FactorizeOptions, check_options, distinct_queries
from pgretrieval.db.tables.factorizations import Item
from pgretrieval.errors import ConfigError, InputError
from pgretrieval.rerank import load_cross_encoder
from pgretrieval.types import Hit, Passage
from tests.support.cross_encoder import TableCrossEncoder


@pytest.fixture
def table() -> TableCrossEncoder:
    return TableCrossEncoder(20, 50)


def items(*numbers: int) -> list[Item]:
    return [Item(number, Passage(f"p{number}", f"text {number}", f"title {number}", {"n": number}), None) for number in numbers]


def test_a_budget_pays_for_each_passage_once(table: TableCrossEncoder) -> None:
    """Each passage costs one call, within a batch and across batches, and the remaining calls are counted exactly."""
    calls = CallBudget(load_cross_encoder(table), "query 3", 6)
    assert calls.score(items(4, 9, 4, 2)) == 3
    assert (calls.left, len(table.asked)) == (3, 3)
    assert calls.score(items(2, 4)) == 0
    assert calls.score(items(9, 11)) == 1
    assert (calls.left, len(table.asked)) == (2, 4)
    assert calls.scores == pytest.approx({number: table.table[3, number] for number in (4, 9, 2, 11)}, abs=1e-5)
    assert table.asked == [("query 3", f"title {number} text {number}") for number in (4, 9, 2, 11)]


def test_a_budget_ends(table: TableCrossEncoder) -> None:
    """No more passages are scored than the budget allows; the first ones are kept."""
    calls = CallBudget(load_cross_encoder(table), "query 3", 3)
    assert calls.score(items(7, 1)) == 2
    assert calls.score(items(1, 30, 31, 32)) == 1
    assert calls.score(items(40)) == 0
    assert (calls.left, list(calls.scores), len(table.asked)) == (0, [7, 1, 30], 3)
    assert {number: calls.items[number].id for number in calls.scores} == {7: "p7", 1: "p1", 30: "p30"}


def test_hits_are_ranked_by_exact_scores_of_their_whole_texts(table: TableCrossEncoder) -> None:
    """Scores are computed from title and text, and hits are ranked by them."""
    numbers = [5, 17, 30, 2, 44]
    hits = [Hit(rank, f"p{n}", 9.0 - rank, f"title {n}", f"text {n}", {"n": n}) for rank, n in enumerate(numbers, start=1)]
    explained = rerank(load_cross_encoder(table), "query 8", hits, 3)
    best = table.best(8, 3, numbers)
    assert [(hit.rank, hit.id, hit.metadata) for hit in explained.hits] == [
        (rank, f"p{n}", {"n": n}) for rank, n in enumerate(best, start=1)
    ]
    assert [hit.score for hit in explained.hits] == pytest.approx(table.table[8, best].tolist(), abs=1e-5)
    assert table.asked == [("query 8", f"title {n} text {n}") for n in numbers]
    assert explained.cross_encoder_calls == 5


def test_hits_of_one_score_keep_their_order() -> None:
    """Ties keep their order."""

    class Indifferent:
        def predict(self, pairs: Any) -> list[float]:
            return [float("money" in text) for _, text in pairs]

    hits = [Hit(rank, f"p{rank}", -rank, None, "money" if rank == 3 else "water", {}) for rank in range(1, 6)]
    found = rerank(load_cross_encoder(Indifferent()), "a bank", hits, 4).hits
    assert [hit.id for hit in found] == ["p3", "p1", "p2", "p4"]


@pytest.mark.parametrize(("element", "most"), [("vector", 2000), ("halfvec", 4000)])
def test_as_many_anchors_are_allowed_as_can_be_indexed(element: Any, most: int) -> None:
    """The largest indexable number of anchors is accepted, the next one refused."""
    assert check_options(FactorizeOptions(most, "top", 3, element)) == FactorizeOptions(most, "top", 3, element)
    with pytest.raises(ConfigError, match=f"anchor_items is {most + 1}"):
        check_options(FactorizeOptions(most + 1, "top", 3, element))


def test_ten_different_queries_are_enough() -> None:
    """The minimum named in the error is accepted, and queries keep their order."""
    texts = [f"query {number}" for number in range(10, 0, -1)]
    assert distinct_queries([*texts, texts[4], texts[0]]) == texts
    with pytest.raises(InputError, match="9 distinct anchor queries; give at least 10"):
        distinct_queries([*texts[:9], texts[3]])
