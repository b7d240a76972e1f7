"""Candidates of listed passages, compared with plain Python."""

from __future__ import annotations

import numpy as np
import pytest

from pgretrieval.db.candidates import ListedPassages
from pgretrieval.search.interaction import best_listed
from pgretrieval.search.probe import select_probes
from tests.support.scores import scores_of


def listed(seed: int, centroids: int = 40, spread: int = 1) -> ListedPassages:
    """Up to thirty passages a centroid, their ids `spread` apart."""
    rng = np.random.default_rng(seed)
    lists = [rng.choice(200, rng.integers(0, 30), replace=False) * spread for _ in range(centroids)]
    order = rng.permutation(centroids)
    return ListedPassages(
        np.concatenate([lists[centroid] for centroid in order]).astype(np.int32),
        np.repeat(order, [len(lists[centroid]) for centroid in order]).astype(np.int32),
    )


@pytest.mark.parametrize("spread", [1, 1_000_003])
@pytest.mark.parametrize("limit", [1, 20, 1000])
def test_candidates_have_the_greatest_sums_of_weights(spread: int, limit: int) -> None:
    scores = scores_of(np.random.default_rng(1).random((5, 40)))
    probes, postings = select_probes(scores, 40), listed(2, spread=spread)
    sums: dict[int, float] = {}
    for passage, probe in zip(postings.passage_ids.tolist(), postings.probes.tolist(), strict=True):
        sums[passage] = sums.get(passage, 0.0) + float(probes.scores[probe])
    expected = sorted(sums, key=lambda passage: (-sums[passage], passage))[:limit]
    assert best_listed(postings, probes, limit).tolist() == expected


def test_ties_go_to_the_smaller_id() -> None:
    probes = select_probes(scores_of([[0.5, 0.5]]), 2)
    postings = ListedPassages(np.array([9, 3, 7, 5], dtype=np.int32), np.array([0, 1, 0, 1], dtype=np.int32))
    assert best_listed(postings, probes, 2).tolist() == [3, 5]


def test_no_listed_passage_gives_no_candidate() -> None:
    nothing = np.empty(0, dtype=np.int32)
    assert best_listed(ListedPassages(nothing, nothing), select_probes(scores_of([[0.5, 0.4]]), 1), 10).tolist() == []
