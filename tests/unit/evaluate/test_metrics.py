from __future__ import annotations

from math import log2

import pytest

from pgretrieval.errors import ConfigError, InputError
from pgretrieval.evaluate.metrics import mean_metrics, parse_metrics, required_depths, run_from_ranking


def runs(depth: int, **rankings: str):
    """One run of `depth`, with the ids of each query's ranking as letters."""
    return {depth: {query_id: run_from_ranking(list(ids)) for query_id, ids in rankings.items()}}


def only(text: str, qrels, runs_by_depth) -> float:
    (value,) = mean_metrics(parse_metrics(text), qrels, runs_by_depth).values()
    return value


def test_names_in_the_order_given():
    measures = parse_metrics("nDCG@10  R@100 RR@10\nSuccess@5 AP P@3 R(rel=2)@5")
    assert list(map(str, measures)) == ["nDCG@10", "R@100", "RR@10", "Success@5", "AP", "P@3", "R(rel=2)@5"]


def test_other_names_and_repetitions():
    assert list(map(str, parse_metrics("Recall@5 R@5 MRR@10 MAP NDCG@3"))) == ["R@5", "RR@10", "AP", "nDCG@3"]


@pytest.mark.parametrize(
    "name",
    [
        "nope@3",
        "ndcg@10",
        "nDCG@x",
        "nDCG@10.5",
        "nDCG@0",
        "R@-1",
        "R@True",
        "R@9999999999",
        "R",
        "P",
        "Success",
        "nDCG@10,R@5",
        "R(5)",
        "R(**x)",
        "R(rel=0)@5",
        "R(rel=5000)@5",
        "R(rel='2')@5",
        "nDCG(dcg='exp-log2')@10",
        "nDCG(judged_only=True)@10",
        "NumRet",
        "Judged@5",
        "ERR@10",
        "(" * 500,
        "\0",
    ],
)
def test_a_bad_metric_is_named_with_examples(name):
    with pytest.raises(ConfigError) as caught:
        parse_metrics(f"nDCG@10 {name}")
    assert repr(name) in str(caught.value)
    assert "R@100 RR@10" in str(caught.value)


@pytest.mark.parametrize("text", ["", " \n"])
def test_no_metric(text):
    with pytest.raises(ConfigError, match="no metric given"):
        parse_metrics(text)


def test_required_depths():
    assert required_depths(parse_metrics("R@100 nDCG@10 RR@10 Success@5")) == [5, 10, 100]
    assert required_depths(parse_metrics("nDCG@10 RR")) == [10, 1_000]


def test_ndcg_by_hand():
    # Returned a b c; gains 0, 2, 1. Ranks 1..3 are discounted by log2(2), log2(3), log2(4).
    # DCG = 0/1 + 2/log2(3) + 1/2; the ideal order is 2, 1, 0: IDCG = 2/1 + 1/log2(3).
    expected = (2 / log2(3) + 1 / 2) / (2 + 1 / log2(3))
    assert only("nDCG@10", {"q": {"b": 2, "c": 1}}, runs(10, q="abc")) == pytest.approx(expected)
    assert expected == pytest.approx(0.6696718)


def test_ndcg_cuts_the_run_and_the_ideal():
    # At 2: DCG = 2/log2(3); IDCG = 2 + 1/log2(3).
    expected = (2 / log2(3)) / (2 + 1 / log2(3))
    assert only("nDCG@2", {"q": {"b": 2, "c": 1}}, runs(3, q="abc")) == pytest.approx(expected)


def test_means_over_queries_by_hand():
    qrels = {"q1": {"a": 1, "x": 1}, "q2": {"c": 1}, "q3": {"z": 1}}
    measured = mean_metrics(parse_metrics("R@3 RR@3 Success@1 P@2 AP@3 RR@2"), qrels, runs(3, q1="abc", q2="abc", q3="abc"))
    assert measured == {
        "R@3": pytest.approx((1 / 2 + 1 + 0) / 3),  # q1 has one of two, q2 its only one, q3 none
        "RR@3": pytest.approx((1 + 1 / 3 + 0) / 3),  # first relevant at rank 1, 3, never
        "Success@1": pytest.approx(1 / 3),
        "P@2": pytest.approx((1 / 2 + 0 + 0) / 3),
        "AP@3": pytest.approx(((1 / 1) / 2 + 1 / 3 + 0) / 3),  # q1: precision 1 at rank 1, over two relevant
        "RR@2": pytest.approx(1 / 3),
    }
    assert list(measured) == ["R@3", "RR@3", "Success@1", "P@2", "AP@3", "RR@2"]


def test_rel_is_the_lowest_relevance_that_counts():
    qrels = {"q": {"a": 1, "b": 2}}
    measured = mean_metrics(parse_metrics("R@1 R(rel=2)@1 RR(rel=2)@2"), qrels, runs(2, q="ab"))
    assert measured == {"R@1": 0.5, "R(rel=2)@1": 0.0, "RR(rel=2)@2": 0.5}


METRICS = "nDCG@10 R@10 RR@10 RR Success@10 P@1 AP AP@10"


@pytest.mark.parametrize("answers", [{"q1": "a"}, {"q1": "a", "q2": ""}, {"q1": "a", "q2": "", "unjudged": "abc"}])
def test_a_judged_query_without_results_counts_0(answers):
    # q1 is answered perfectly, q2 and q3 not at all: every mean is 1/3.
    qrels = {"q1": {"a": 1}, "q2": {"b": 1}, "q3": {"c": 1}}
    measured = mean_metrics(parse_metrics(METRICS), qrels, runs(10, **answers))
    assert measured == pytest.approx(dict.fromkeys(METRICS.split(), 1 / 3))


def test_no_results_at_all():
    assert set(mean_metrics(parse_metrics(METRICS), {"q": {"a": 1}}, {10: {}}).values()) == {0.0}


def test_a_query_with_nothing_relevant_is_judged_and_counts_0():
    qrels = {"q1": {"a": 1}, "q2": {"a": 0, "b": -1}}
    measured = mean_metrics(parse_metrics(METRICS), qrels, runs(10, q1="a", q2="ab"))
    assert set(measured.values()) == {0.5}


def test_each_measure_uses_the_shallowest_run_that_reaches_its_cutoff():
    # A search for more results may rank differently; only run 5 finds a first, only run 100 finds b.
    qrels = {"q": {"a": 1, "b": 1}}
    depths = {**runs(5, q="ax"), **runs(10, q="xa"), **runs(100, q="yxb")}
    measured = mean_metrics(parse_metrics("RR@5 RR@3 RR@10 RR@11 R@100 RR R@1"), qrels, depths)
    assert measured == {
        "RR@5": 1.0,
        "RR@3": 1.0,
        "RR@10": 0.5,
        "RR@11": pytest.approx(1 / 3),
        "R@100": 0.5,
        "RR": pytest.approx(1 / 3),
        "R@1": 0.5,
    }


@pytest.mark.parametrize("available", [{}, {10: {}}])
def test_no_run_is_deep_enough(available):
    with pytest.raises(ConfigError, match="R@100 needs a run of at least 100 results"):
        mean_metrics(parse_metrics("R@100"), {"q": {"a": 1}}, available)


@pytest.mark.parametrize("qrels", [{}, {"q": {}}])
def test_no_judged_query(qrels):
    with pytest.raises(InputError, match="no judged query"):
        mean_metrics(parse_metrics("R@1"), qrels, {1: {}})


@pytest.mark.parametrize("ids", ["ab", "ba"])
@pytest.mark.parametrize("scores", [[1.0, 1.0], [2.0**24 + 1, 2.0**24], [1.0 + 1e-9, 1.0]])
def test_the_order_returned_is_the_order_judged(ids, scores):
    # trec_eval compares single-precision scores and orders equal ones by id.
    run = {10: {"q": dict(zip(ids, scores, strict=True))}}
    measured = mean_metrics(parse_metrics("RR RR@10 P@1 nDCG@1"), {"q": {ids[0]: 1}}, run)
    assert set(measured.values()) == {1.0}


def test_scores_decide_and_not_the_order_of_the_mapping():
    assert only("RR@2", {"q": {"b": 1}}, {2: {"q": {"a": 1.0, "b": 2.0}}}) == 1.0


def test_run_from_ranking():
    assert run_from_ranking(["b", "a", "c"]) == {"b": 3.0, "a": 2.0, "c": 1.0}
    assert run_from_ranking([]) == {}
    with pytest.raises(InputError, match="'a' occurs twice"):
        run_from_ranking(["b", "a", "c", "a"])
