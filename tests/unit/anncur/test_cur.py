"""Numerics of factorisations, compared with exact products and with plain implementations of the papers' algorithms."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache, partial

import numpy as np
import pytest

from pgretrieval.anncur.estimate import QueryModel
from pgretrieval.anncur.inverse import Decomposed, Regularisation
from pgretrieval.anncur.selection import SELECTIONS, choose_anchors, pivots
from pgretrieval.anncur.solving import anchors_for, informative_queries, recall, solve
from pgretrieval.anncur.whitening import whiten

NO_CUT = Regularisation("truncation", 1e-15)
greedy = partial(choose_anchors, count=80, selection="greedy", seed=0)


def low_rank(queries: int, items: int, rank: int, seed: int = 0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((queries, rank)) @ rng.standard_normal((rank, items))


@cache
def realistic(seed: int = 0, queries: int = 300, items: int = 2000):
    """Scores like a cross-encoder's: 60 decaying directions and 15 % noise."""
    rng = np.random.default_rng(seed)
    decay = np.exp(-np.arange(60) / 20)
    signal = (rng.standard_normal((queries, 60)) * decay) @ rng.standard_normal((60, items))
    return signal + 0.15 * signal.std() * rng.standard_normal((queries, items))


@pytest.mark.parametrize("selection", ["greedy", "random", "top"])
def test_scores_of_low_rank_are_estimated_exactly(selection):
    """The inverse is exact on the span of the anchors, in double precision."""
    scores = low_rank(120, 800, 20)
    solved = solve(scores[:100], partial(choose_anchors, count=30, selection=selection, seed=1), seed=0)
    anchors = solved.anchors
    embeddings = solved.inverse @ scores[:100]
    estimated = scores[100:, anchors] @ embeddings
    assert np.abs(estimated - scores[100:]).max() / np.abs(scores).max() < 1e-6
    assert solved.error / np.abs(scores).max() < 1e-6
    assert solved.recall == 1
    assert solved.rank == 20


def test_recall_holds_where_anchors_are_as_many_as_queries():
    """Recall stays high with as many anchors as queries, although the square matrix is noisy."""
    scores, train, test = realistic(queries=450, items=3000), 300, slice(300, 450)

    def found(anchors, inverse):
        return recall(scores[test], scores[test][:, anchors] @ inverse @ scores[:train], 100)

    order = choose_anchors(scores[:train], 360, "random", seed=3)
    recalls = {}
    for count in (240, 300, 360):
        anchors = order[:count]
        recalls[count] = found(anchors, solve(scores[:train], lambda _, same=anchors: same, 0).inverse)
    assert recalls[300] >= 0.95 * max(recalls[240], recalls[360])
    plain = found(order[:300], Decomposed(scores[:train, order[:300]]).inverse(NO_CUT))
    assert plain < recalls[300] / 2  # the reason for regularisation


def test_held_out_estimates_hold_for_other_queries():
    """Recall and error are measured on queries that the factorisation does not use."""
    scores = realistic()
    solved = solve(scores[:200], greedy, seed=0)
    estimated = scores[200:, solved.anchors] @ solved.inverse @ scores[:200]
    assert solved.recall == pytest.approx(recall(scores[200:], estimated, 100), abs=0.06)
    assert solved.error == pytest.approx(np.sqrt(np.mean((estimated - scores[200:]) ** 2)), rel=0.15)


def test_anchors_that_held_out_queries_chose_do_not_flatter_or_spoil_them():
    """Anchors are chosen without held-out queries; greedy selection would prefer their outlier items."""
    scores, train = realistic(1).copy(), 100
    rng = np.random.default_rng(10)
    for row in scores:
        row[rng.integers(0, len(row), 2)] += 30 * scores.std()
    solved = solve(scores[:train], greedy, seed=0)
    estimated = scores[train:, solved.anchors] @ solved.inverse @ scores[:train]
    assert solved.error == pytest.approx(np.sqrt(np.mean((estimated - scores[train:]) ** 2)), rel=0.15)


def test_pivots_explain_the_remainder():
    """Pivots skip columns that repeat others, and no column occurs twice."""
    scores = low_rank(30, 200, 5)
    scores = np.hstack([scores, scores])
    chosen = pivots(scores, 40)
    assert len(set(chosen.tolist())) == 40
    assert np.linalg.matrix_rank(scores[:, chosen[:5]]) == 5
    assert chosen[0] == np.argmax(np.linalg.norm(scores, axis=0))


def test_pivots_of_equal_and_of_zero_columns_come_to_an_end():
    """Pivoting terminates on equal and on zero columns."""
    assert len(set(pivots(np.ones((4, 9)), 9).tolist())) == 9
    assert len(set(pivots(np.zeros((4, 9)), 9).tolist())) == 9


@pytest.mark.parametrize("selection", SELECTIONS)
def test_selections_are_seeded_and_have_no_item_twice(selection):
    """A seed determines the selection, which has the requested size."""
    scores = realistic()[:80, :300]

    def spread(count):
        return np.arange(count) * 3

    first, again = (choose_anchors(scores, 50, selection, 7, spread) for _ in range(2))
    assert first.tolist() == again.tolist()
    assert len(set(first.tolist())) == 50
    if selection == "top":
        assert set(first.tolist()) == set(np.argsort(-scores.mean(axis=0))[:50].tolist())
    if selection == "kmeans":
        assert set(first.tolist()) == set(range(0, 150, 3))
    if selection == "random":
        assert first.tolist() != choose_anchors(scores, 50, selection, 8).tolist()


def test_constant_rows_take_no_part():
    """Queries with constant scores affect neither the estimate nor the choice of regularisation."""
    scores = low_rank(60, 400, 10)
    spoilt = scores.copy()
    spoilt[[3, 7]] = 1e4
    assert len(informative_queries(spoilt)) == 58
    solved = solve(spoilt, partial(choose_anchors, count=20, selection="random", seed=0), seed=0)
    assert not solved.inverse[:, [3, 7]].any()
    assert solved.error / np.abs(scores).max() < 1e-6


def test_a_part_of_the_anchors_gives_what_their_own_factorisation_gives():
    """If anchors are hidden, deleted or beyond the budget, the rest give the estimate of their own factorisation."""
    scores, train = realistic(), 200
    solved = solve(scores[:train], greedy, seed=0)
    anchors = solved.anchors
    embeddings = solved.inverse @ scores[:train]
    model = QueryModel(solved.intersection, solved.error**2)
    part = np.arange(0, 80, 2)
    vectors = model.of_anchors(part, scores[train:][:, anchors[part]])
    assert np.allclose(vectors[7], model.of_anchors(part, scores[train + 7, anchors[part]]))
    own = solve(scores[:train], lambda _: anchors[part], seed=0)
    by_own = scores[train:, anchors[part]] @ own.inverse @ scores[:train]
    assert recall(scores[train:], vectors @ embeddings, 100) >= recall(scores[train:], by_own, 100) - 0.02
    whole = model.of_anchors(np.arange(80)[::-1], scores[250, anchors][::-1])
    assert np.array_equal(whole, scores[250, anchors])


@pytest.mark.parametrize("selection", ["greedy", "top"])
def test_whitened_embeddings_have_the_same_products_and_equal_variances(selection):
    """Whitening keeps estimates and equalises the variance of all directions."""
    scores, train = realistic(), 200
    solved = solve(scores[:train], partial(choose_anchors, count=80, selection=selection, seed=0), seed=0)
    directions, turned = whiten(solved.inverse, scores[:train])
    assert np.array_equal(directions, directions.T)
    vectors = scores[train:, solved.anchors]
    products = vectors @ directions.astype(np.float64) @ turned @ scores[:train]
    assert np.abs(products - vectors @ solved.inverse @ scores[:train]).max() / np.abs(scores).max() < 1e-12
    plain, white = (np.linalg.eigvalsh(np.cov(inverse @ scores[:train])) for inverse in (solved.inverse, turned))
    assert plain[-1] > 2 * np.median(plain)
    assert white[-1] < 1.01
    assert white.min() == pytest.approx(min(1, 1000 * plain[0] / plain[-1]), rel=0.02)


def test_equal_embeddings_stay_as_they_are():
    """Embeddings without variance are not divided by zero."""
    inverse = np.arange(12.0).reshape(3, 4)
    directions, turned = whiten(inverse, np.ones((4, 50)))
    assert np.array_equal(directions, np.eye(3))
    assert np.array_equal(turned, inverse)


def test_whitened_and_plain_embeddings_give_the_same_query():
    """Plain and whitened embeddings give the same most likely query."""
    scores, train = realistic(), 200
    solved = solve(scores[:train], greedy, seed=0)
    directions, turned = whiten(solved.inverse, scores[:train])
    plain = QueryModel(solved.intersection, solved.error**2)
    white = QueryModel(solved.intersection, solved.error**2, directions.astype(np.float64))
    embeddings, whitened = (inverse @ scores[:train] for inverse in (solved.inverse, turned))
    row, items, part = scores[250], np.arange(0, 2000, 50), np.arange(0, 80, 2)
    own = row[solved.anchors]
    for expected, found in (
        (plain.mean, white.mean),
        (plain.of_anchors(np.arange(80), own), white.of_anchors(np.arange(80), own)),
        (plain.of_anchors(part, own[part]), white.of_anchors(part, own[part])),
        (plain.of_items(plain.anchor_vectors[part], own[part]), white.of_items(white.anchor_vectors[part], own[part])),
        (plain.of_items(embeddings.T[items], row[items]), white.of_items(whitened.T[items], row[items])),
    ):
        assert np.allclose(found @ whitened, expected @ embeddings, rtol=0, atol=1e-6 * np.abs(scores).max())
    assert np.allclose(plain.of_items(plain.anchor_vectors[part], own[part]), plain.of_anchors(part, own[part]))


def test_without_scores_the_mean_query_is_expected():
    """Without scores the first round uses the mean query."""
    model = QueryModel(realistic()[:100, :20], 0.1)
    assert np.array_equal(model.of_items(np.empty((0, 20)), np.empty(0)), model.mean)
    equal = model.of_items(np.ones((5, 20)), np.full(5, 2.0))
    assert np.isfinite(equal).all()


def direct(model: QueryModel, embeddings: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Solve a system with one equation per score, as a reference."""
    covariance = model._covariance
    variance = embeddings @ covariance @ embeddings.T
    ridge = model._error + 1e-10 * np.trace(variance) / len(variance)
    weights = np.linalg.solve(variance + ridge * np.eye(len(variance)), scores - embeddings @ model.mean)
    return model.mean + covariance @ embeddings.T @ weights


@pytest.mark.parametrize(("queries", "items"), [(300, 10), (300, 59), (300, 60), (300, 61), (300, 700), (40, 41), (40, 700)])
@pytest.mark.parametrize("error", [0.3, 0.01])
def test_many_scores_are_solved_in_the_smaller_dimension(queries: int, items: int, error: float):
    """The smaller system gives the vector of the full one."""
    rng = np.random.default_rng(3)
    intersection = rng.standard_normal((queries, 30)) @ rng.standard_normal((30, 60)) + 0.1 * rng.standard_normal((queries, 60)) + 2
    model = QueryModel(intersection, error**2, rng.standard_normal((60, 60)) / 8)
    embeddings = rng.standard_normal((items, 60))
    scores = embeddings @ (model.mean + model._covariance @ rng.standard_normal(60)) + error * rng.standard_normal(items)
    expected = direct(model, embeddings, scores)
    assert np.abs(model.of_items(embeddings, scores) - expected).max() <= 1e-8 * np.abs(expected).max()


def test_rounds_do_not_take_the_cube_of_the_calls():
    """2,000 scores are solved much faster than a system of 2,000 equations."""
    rng = np.random.default_rng(4)
    model = QueryModel(rng.standard_normal((200, 100)), 0.01)
    embeddings, scores = rng.standard_normal((2500, 100)), rng.standard_normal(2500)

    def seconds(solve: Callable[[], object]) -> float:
        times = []
        for _ in range(3):
            started = time.thread_time()
            solve()
            times.append(time.thread_time() - started)
        return min(times)

    model.of_items(embeddings, scores)
    assert 5 * seconds(lambda: model.of_items(embeddings, scores)) < seconds(lambda: direct(model, embeddings, scores))


def adaptive(first, rounds, budget, truth, estimate):
    """Recall of the 10 and 100 best of one query, if each round scores the best unscored items by estimate."""
    scored = list(first)
    for number in range(1, rounds):
        estimated = estimate(scored, truth[scored])
        estimated[scored] = -np.inf
        wanted = round(budget * (number + 1) / rounds) - len(scored)
        scored += np.argsort(-estimated)[:wanted].tolist()
    return [np.isin(np.argsort(-truth)[:depth], scored).mean() for depth in (10, 100)]


def test_rounds_by_embeddings_match_adacur():
    """Regression on item embeddings finds as much as the pseudo-inverse over the anchor queries' full scores (ADACUR)."""
    scores, train = realistic(), 200
    solved = solve(scores[:train], greedy, seed=0)
    anchors = solved.anchors
    embeddings = (solved.inverse @ scores[:train]).T
    model = QueryModel(solved.intersection, solved.error**2)

    def ours(items, exact):
        return embeddings @ model.of_items(embeddings[items], exact)

    def adacur(items, exact):
        return exact @ np.linalg.pinv(scores[:train, items], rcond=0.05) @ scores[:train]

    first = anchors[:30].tolist()
    results = {
        name: np.mean([adaptive(first, 5, 150, scores[row], estimate) for row in range(200, 220)], axis=0)
        for name, estimate in (("ours", ours), ("adacur", adacur))
    }
    assert (results["ours"] >= results["adacur"] - 0.01).all(), results
    assert results["ours"][0] > 0.9


def test_the_split_is_learnt_by_budget():
    """The split spends part of a budget on anchors, never more than there are."""
    scores = realistic()
    split = solve(scores[:200], greedy, seed=0).split
    assert list(split) == [10, 20, 50, 100, 200, 500, 1000]
    assert all(0 < count < budget and count <= 80 for budget, count in split.items())
    for budget in (1, 7, 10, 75, 500, 10_000):
        assert 1 <= anchors_for(budget, split, 80) <= min(budget, 80)
    assert anchors_for(500, split, 80) == split[500]
    assert 1 <= anchors_for(3, {}, 80) <= 3


def test_anchors_own_scores_follow_from_any_query_vector():
    """The scores of anchors are reproduced for asymmetric directions, too."""
    rng = np.random.default_rng(5)
    directions = rng.standard_normal((12, 12))
    model = QueryModel(rng.standard_normal((30, 12)), 0.1, directions)
    scores = rng.standard_normal(12)
    assert np.allclose(model.anchor_vectors @ (scores @ directions), scores)
    assert np.allclose(model.of_anchors(np.arange(12), scores), scores @ directions)


def test_regularised_inverses_by_their_definitions():
    """A strength is a share of the largest singular value."""
    rng = np.random.default_rng(6)
    left, right = np.linalg.qr(rng.standard_normal((8, 4)))[0], np.linalg.qr(rng.standard_normal((4, 4)))[0]
    scores = (left * [10.0, 5.0, 0.5, 0.04]) @ right.T
    fitted = Decomposed(scores)
    ridge = Regularisation("ridge", 0.05)
    expected = np.linalg.solve(scores.T @ scores + 0.5**2 * np.eye(4), scores.T)
    assert np.allclose(fitted.inverse(ridge), expected)
    assert fitted.rank(ridge) == 4
    for strength, kept in ((0.1, 2), (0.03, 3), (0.001, 4), (0.6, 1)):
        cut = Regularisation("truncation", strength)
        assert fitted.rank(cut) == kept
        assert np.allclose(fitted.inverse(cut), (right[:, :kept] / [10.0, 5.0, 0.5, 0.04][:kept]) @ left[:, :kept].T)
    assert fitted.condition == pytest.approx(250)


def test_pivots_are_those_of_a_pivoted_qr():
    """Pivots equal those of a pivoted QR."""
    from scipy.linalg import qr

    for seed in range(3):
        rng = np.random.default_rng(seed)
        scores = rng.standard_normal((40, 12)) @ rng.standard_normal((12, 90)) + 0.3 * rng.standard_normal((40, 90)) + 3
        assert pivots(scores, 30).tolist() == qr(scores, pivoting=True, mode="r")[1][:30].tolist()
