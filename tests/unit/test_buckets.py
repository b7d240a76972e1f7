"""Buckets of passages; tests/sql/test_buckets.py compares them with SQL."""

from __future__ import annotations

import numpy as np

from pgretrieval.buckets import MAX_BUCKETS, buckets_of

IDS = ["p0", "1", "Ünïcödé", "日本語", "🙂", "a" * 2000]


def test_the_bucket_of_an_id_never_changes() -> None:
    """The buckets of some ids, which stored rows depend on."""
    assert buckets_of(IDS, 64).tolist() == [27, 50, 21, 10, 21, 0]
    assert buckets_of(IDS, MAX_BUCKETS).tolist() == [859, 690, 917, 266, 789, 768]


def test_all_are_in_bucket_0_of_one() -> None:
    """A collection of one bucket needs no hash."""
    assert buckets_of(IDS, 1).tolist() == [0] * len(IDS)


def test_no_passages_are_in_no_bucket() -> None:
    assert buckets_of([], 64).shape == buckets_of([], 1).shape == (0,)


def test_buckets_are_about_equally_full() -> None:
    """None of 100 buckets has a quarter more or less than its share of 100,000 ids."""
    counts = np.bincount(buckets_of([f"id {number}" for number in range(100_000)], 100), minlength=100)
    assert 750 < counts.min() <= counts.max() < 1250
