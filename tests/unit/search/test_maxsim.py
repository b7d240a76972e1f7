"""Centroid interaction and decoding compared with plain numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pgretrieval.db.candidates import CodedPassages, ListedTokens
from pgretrieval.numerics.centroid_scores import CentroidScores, PassageCentroids
from pgretrieval.numerics.codebook import Codebook, train_codebook
from pgretrieval.search import maxsim
from pgretrieval.search.interaction import centroid_interaction, near_the_best
from pgretrieval.search.maxsim import best_first, decoded_maxsim, maxsim_on_device, stored_maxsim, token_similarity
from pgretrieval.types import TokenMatrix
from tests.support.scores import scores_of


@pytest.fixture(scope="module")
def coded() -> tuple[Codebook, CodedPassages, np.ndarray]:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(9000, 50)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    codebook = train_codebook(vectors, 64, 4, "lloyd-max")
    ids, packed = codebook.encode(vectors)
    offsets = np.sort(np.append(rng.choice(np.arange(1, 9000), 40, replace=False), [0, 9000]))
    return codebook, CodedPassages(np.arange(41, dtype=np.int32), offsets, ids, packed), vectors[:6]


def centroids_of(passages: CodedPassages) -> PassageCentroids:
    return PassageCentroids.of(passages.passage_ids, passages.offsets, passages.centroid_ids, 64)


def test_interaction_is_maxsim_over_centroids(coded: tuple[Codebook, CodedPassages, np.ndarray]) -> None:
    codebook, passages, query = coded
    scores = query @ codebook.centroids.T
    parts = np.split(passages.centroid_ids, passages.offsets[1:-1])
    expected = [sum(max(0, *(scores[q, c] for c in part)) for q in range(len(query))) for part in parts]
    found = centroid_interaction(CentroidScores(query, codebook.centroids), centroids_of(passages))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("within", "at_least", "at_most"), [(0.0, 1, 41), (0.4, 1, 41), (0.4, 30, 41), (99.0, 1, 7), (99.0, 1, 41)]
)
def test_those_near_the_kth_best_remain(
    coded: tuple[Codebook, CodedPassages, np.ndarray], within: float, at_least: int, at_most: int
) -> None:
    """The best by interaction down to a distance below the fifth, between two bounds."""
    codebook, passages, query = coded
    scores = CentroidScores(query, codebook.centroids)
    found = centroid_interaction(scores, centroids_of(passages))
    near = near_the_best(scores, centroids_of(passages), 5, within, at_least, at_most)
    count = min(max(int((found >= np.sort(found)[-5] - within).sum()), at_least), at_most)
    assert near.passage_ids.tolist() == np.lexsort((passages.passage_ids, -found))[:count].tolist()


def test_similarities_below_zero_count_as_zero(coded: tuple[Codebook, CodedPassages, np.ndarray]) -> None:
    _, passages, _ = coded
    below = scores_of(-np.random.default_rng(0).random((6, 64)))
    assert centroid_interaction(below, centroids_of(passages)).tolist() == [0.0] * 41


def test_decoded_scores_use_unit_vectors(coded: tuple[Codebook, CodedPassages, np.ndarray]) -> None:
    """Decoded vectors are scaled to unit length (ColBERTv2), also across block borders."""
    codebook, passages, query = coded
    decoded = codebook.decode(passages.centroid_ids, passages.residuals)
    decoded = decoded / np.linalg.norm(decoded, axis=1, keepdims=True)
    expected = [(query @ part.T).max(axis=1).sum() for part in np.split(decoded, passages.offsets[1:-1])]
    np.testing.assert_allclose(decoded_maxsim(query, codebook, passages), expected, rtol=1e-5)
    np.testing.assert_allclose(maxsim_on_device(query, codebook, passages), expected, rtol=1e-5)


@pytest.mark.parametrize("threads", [1, 2])
def test_parts_side_by_side_score_as_one(
    coded: tuple[Codebook, CodedPassages, np.ndarray], monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    """Threads return runs of passages in order."""
    codebook, passages, query = coded
    whole = decoded_maxsim(query, codebook, passages)
    monkeypatch.setattr(maxsim, "_TOKENS_AT_LEAST", 100)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    np.testing.assert_array_equal(decoded_maxsim(query, codebook, passages), whole)
    decoded = codebook.decode(passages.centroid_ids, passages.residuals)
    decoded /= np.linalg.norm(decoded, axis=1, keepdims=True)
    np.testing.assert_allclose(stored_maxsim(query, TokenMatrix(decoded, passages.offsets)), whole, rtol=1e-5)
    owners = np.repeat(passages.passage_ids, np.diff(passages.offsets))
    listed = ListedTokens(owners, passages.centroid_ids, passages.residuals)
    np.testing.assert_allclose(token_similarity(query, codebook, listed)[:, :6], decoded @ query.T, rtol=1e-4, atol=1e-6)


def test_no_passages_score_nothing(coded: tuple[Codebook, CodedPassages, np.ndarray]) -> None:
    codebook, passages, query = coded
    nothing = CodedPassages(np.array([], dtype=np.int32), np.array([0]), passages.centroid_ids[:0], passages.residuals[:0])
    assert decoded_maxsim(query, codebook, nothing).shape == (0,)
    assert stored_maxsim(query, TokenMatrix(query[:0], np.array([0]))).shape == (0,)
    listed = ListedTokens(nothing.passage_ids, nothing.centroid_ids, nothing.residuals)
    assert len(token_similarity(query, codebook, listed)) == 0


def test_equal_scores_keep_the_order_of_ids() -> None:
    assert best_first(np.array([1.0, 3.0, 3.0], dtype=np.float32), np.array([7, 9, 8], dtype=np.int32), 2).tolist() == [2, 1]
