"""Centroids of passages in memory: what was added is found, what is older than half of the memory is forgotten."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from pgretrieval.db.candidates import CodedPassages
from pgretrieval.errors import StorageError
from pgretrieval.numerics.centroid_scores import PassageCentroids
from pgretrieval.search.centroid_cache import CentroidCache
from tests.support.scores import scores_of

CENTROIDS = 1000
SCORES = scores_of(np.arange(CENTROIDS)[None] / CENTROIDS)


def coded(*passages: tuple[int, list[int]]) -> CodedPassages:
    """Passages by id, and the centroids of their tokens."""
    offsets = np.cumsum([0, *(len(ids) for _, ids in passages)])
    centroid_ids = np.array([number for _, ids in passages for number in ids], dtype=np.int32)
    return CodedPassages(np.array([key for key, _ in passages], dtype=np.int32), offsets, centroid_ids, np.empty((0, 1), np.uint8))


def best_of(passages: PassageCentroids) -> dict[int, int]:
    """The highest centroid number of each passage, as the scores read them from memory."""
    scores = np.rint(SCORES.maxsim(passages) * CENTROIDS).astype(int)
    return dict(zip(passages.passage_ids.tolist(), scores.tolist(), strict=True))


def test_what_was_added_is_found() -> None:
    cache = CentroidCache(CENTROIDS)
    assert best_of(cache.add(coded((7, [1, 3, 2]), (100_000, [5])))) == {7: 3, 100_000: 5}
    cache.add(coded((8, [9])))
    found, missing = cache.find(np.array([100_000, 6, 8, 7, 2_000_000], dtype=np.int32))
    assert best_of(found) == {100_000: 5, 8: 9, 7: 3}
    assert missing.tolist() == [6, 2_000_000]


def test_nothing_is_found_at_first() -> None:
    found, missing = CentroidCache(CENTROIDS).find(np.array([3, 4], dtype=np.int32))
    assert (len(found), missing.tolist()) == (0, [3, 4])


def test_the_oldest_are_forgotten() -> None:
    """With room for 200 ids of two bytes, at most the last 100 and those since are kept."""
    cache = CentroidCache(CENTROIDS, at_most=400)
    for passage in range(40):
        cache.add(coded((passage, [passage] * 25)))
    found, missing = cache.find(np.arange(40, dtype=np.int32))
    assert best_of(found) == {passage: passage for passage in found.passage_ids.tolist()}
    assert found.bytes <= 400
    assert found.passage_ids.tolist() == list(range(40 - len(found), 40))
    assert 4 <= len(found) <= 8
    assert missing.tolist() == list(range(40 - len(found)))


def test_what_a_search_reads_again_stays() -> None:
    """A passage that was added to the younger generation again is not forgotten with the older."""
    cache = CentroidCache(CENTROIDS, at_most=400)
    cache.add(coded((1, [11] * 100)))
    cache.add(coded((2, [12] * 10)))
    cache.add(coded((1, [11] * 100)))  # the first copy is in the older generation
    cache.add(coded((3, [13] * 10)))
    found, _ = cache.find(np.array([1, 3], dtype=np.int32))
    assert best_of(found) == {1: 11, 3: 13}


def test_what_was_found_stays_in_memory() -> None:
    """A search's passages keep their memory while others push them out."""
    cache = CentroidCache(CENTROIDS, at_most=400)
    cache.add(coded((1, [11] * 100)))
    found, _ = cache.find(np.array([1], dtype=np.int32))
    for passage in range(2, 200):
        cache.add(coded((passage, [passage] * 100)))
    assert cache.find(np.array([1], dtype=np.int32))[1].tolist() == [1]
    assert best_of(found) == {1: 11}


def test_threads_share_it() -> None:
    cache, wrong = CentroidCache(CENTROIDS, at_most=4000), []

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(200):
            asked = np.unique(rng.integers(0, 300, 20)).astype(np.int32)
            found, missing = cache.find(asked)
            read = cache.add(coded(*((int(key), [int(key)] * 7) for key in missing)))
            if best_of(found.followed_by(read)) != {key: key for key in asked.tolist()}:
                wrong.append(asked)

    threads = [threading.Thread(target=work, args=[seed]) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_foreign_centroid_is_refused() -> None:
    with pytest.raises(StorageError, match="the codebook has 1000"):
        CentroidCache(CENTROIDS).add(coded((1, [1000])))
