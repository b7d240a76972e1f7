"""Probing: one entry per centroid, weights summed."""

from __future__ import annotations

import numpy as np
import pytest

from pgretrieval.search.probe import centroids_with_tokens, select_probes
from tests.support.scores import scores_of


def test_a_centroid_that_two_tokens_choose_comes_once() -> None:
    scores = scores_of([[0.9, 0.5, 0.1], [0.8, 0.0, 0.2]])
    probes = select_probes(scores, 2)
    # token 0 probes centroids 0 and 1, token 1 probes 0 and 2; .9 of the one that each leaves out is taken off: .09 and 0
    assert probes.centroid_ids.tolist() == [0, 1, 2]
    np.testing.assert_allclose(probes.scores, [1.7 - 0.09, 0.5 - 0.09, 0.2], rtol=1e-5)


def test_no_weight_is_negative() -> None:
    """Weights are not negative, even if a centroid is barely better than the first one not probed."""
    probes = select_probes(scores_of([[0.50, 0.49, 0.48], [-0.1, -0.2, -0.3]]), 2)
    assert (probes.scores >= 0).all()


def test_more_probes_than_centroids_are_all_centroids() -> None:
    scores = scores_of([[0.9, 0.5], [0.1, 0.2]])
    wide = select_probes(scores, 100)
    assert wide.centroid_ids.tolist() == [0, 1]
    np.testing.assert_allclose(wide.scores, [1.0, 0.7], rtol=1e-6)


@pytest.mark.parametrize("tokens", [1, 7, 40, 1000])
def test_the_fewest_centroids_with_enough_tokens(tokens: int) -> None:
    """The fewest best centroids that hold enough tokens are probed."""
    rng = np.random.default_rng(tokens)
    sizes = rng.integers(0, 9, 30)
    scores = rng.normal(size=(5, 30))
    best, widths = centroids_with_tokens(scores_of(scores), sizes, tokens)
    order = np.argsort(-scores, axis=1)
    assert best.tolist() == order[:, : widths.max()].tolist()
    for row, width in zip(sizes[order], widths.tolist(), strict=True):
        assert row[: width - 1].sum() < tokens
        assert row[:width].sum() >= tokens or width == 30


def test_far_more_is_looked_up_where_the_best_centroids_hold_little() -> None:
    """Probing continues beyond the mean estimate if the best centroids hold few tokens."""
    sizes = np.array([1] * 90 + [1000] * 10)
    scores = np.arange(100, 0, -1)[None]
    assert centroids_with_tokens(scores_of(scores), sizes, 500)[1].tolist() == [91]
