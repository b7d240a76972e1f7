"""Proxies: their targets, and how well they predict MaxSim."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pgretrieval.numerics import proxy_training
from pgretrieval.numerics.maxsim import maxsim
from pgretrieval.numerics.proxy_model import RANK, ProxyModel
from pgretrieval.numerics.proxy_targets import best_similarities
from pgretrieval.numerics.proxy_training import train_proxy
from pgretrieval.types import Float32Array, TokenMatrix
from tests.support.vectors import clustered

CPU = torch.device("cpu")


def matrix(count: int, seed: int = 0) -> TokenMatrix:
    """Unit token vectors of `count` passages."""
    arrays = clustered(count, seed=seed, directions=400, tokens=(4, 16))
    vectors = np.concatenate(arrays)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return TokenMatrix(vectors, np.concatenate([[0], np.cumsum([len(array) for array in arrays])]))


@pytest.fixture(scope="module")
def tokens() -> TokenMatrix:
    return matrix(1500)


@pytest.fixture(scope="module")
def model(tokens: TokenMatrix) -> ProxyModel:
    return train_proxy(tokens)


def test_targets_are_the_best_similarity_of_each_passage(tokens: TokenMatrix) -> None:
    anchors = tokens.vectors[::97]
    found = best_similarities(torch.from_numpy(anchors), tokens).numpy()
    for i in range(0, len(tokens), 131):
        part = tokens.vectors[tokens.offsets[i] : tokens.offsets[i + 1]]
        expected = np.maximum((anchors @ part.T).max(axis=1), 0)
        np.testing.assert_allclose(found[:, i], expected, atol=4e-3)


def test_every_passage_gets_a_finite_proxy_that_half_precision_holds(model: ProxyModel, tokens: TokenMatrix) -> None:
    proxies = model.passages(tokens, CPU)
    assert proxies.shape == (len(tokens), RANK)
    assert np.isfinite(proxies.astype(np.float16)).all()


def ranks_in_proxy_order(model: ProxyModel, tokens: TokenMatrix, queries: list[Float32Array]) -> list[float]:
    """For each query, the share of the exact top ten among the 100 of 1,500 passages with the best proxies."""
    proxies = model.passages(tokens, CPU)
    shares = []
    for query in queries:
        best = np.argsort(-maxsim(query, tokens.vectors, tokens.offsets))[:10]
        shares.append(len(set(best.tolist()) & set(np.argsort(-(proxies @ model.query(query)))[:100].tolist())) / 10)
    return shares


def test_proxies_find_what_exact_maxsim_ranks_first(model: ProxyModel, tokens: TokenMatrix) -> None:
    queries = clustered(30, seed=9, directions=400, tokens=(4, 12))
    assert np.mean(ranks_in_proxy_order(model, tokens, queries)) >= 0.9


def test_passages_added_later_are_found_without_training(model: ProxyModel) -> None:
    later = matrix(1500, seed=5)
    queries = clustered(30, seed=9, directions=400, tokens=(4, 12))
    assert np.mean(ranks_in_proxy_order(model, later, queries)) >= 0.9


def test_a_passages_proxy_does_not_depend_on_the_others(model: ProxyModel, tokens: TokenMatrix) -> None:
    """A passage has the same proxy in any batch."""
    few = TokenMatrix(tokens.vectors[: tokens.offsets[7]], tokens.offsets[:8])
    np.testing.assert_allclose(model.passages(few, CPU), model.passages(tokens, CPU)[:7], rtol=1e-3, atol=1e-3)


def test_the_same_sample_gives_the_same_model(tokens: TokenMatrix, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens, passages and directions are sampled with the seed."""
    monkeypatch.setattr(proxy_training, "_TOKENS", 1024)
    monkeypatch.setattr(proxy_training, "_PASSAGES", 300)
    monkeypatch.setattr(proxy_training, "FEATURES", 256)
    model, again, other = train_proxy(tokens), train_proxy(tokens), train_proxy(tokens, seed=1)
    np.testing.assert_array_equal(again.directions, model.directions)
    query = tokens.vectors[:8]
    np.testing.assert_allclose(again.query(query), model.query(query), atol=1e-5)
    assert not np.allclose(other.query(query), model.query(query), atol=1e-2)


@pytest.mark.parametrize("count", [1, 3, 40])
def test_a_handful_of_passages_is_enough(count: int) -> None:
    few = matrix(count)
    trained = train_proxy(few)
    proxies = trained.passages(few, CPU)
    assert proxies.shape == (count, RANK)
    assert np.isfinite(proxies).all()
    assert np.isfinite(trained.query(few.vectors[:5])).all()
