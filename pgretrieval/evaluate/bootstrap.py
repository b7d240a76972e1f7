"""Paired bootstrap of the difference between two systems."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pgretrieval.errors import ConfigError, InputError

RESAMPLES = 10_000
CONFIDENCE = 0.95
_AT_ONCE = 250


@dataclass(frozen=True, slots=True)
class Difference:
    """Mean of B − A, its interval, and a two-sided p: twice the smaller share of resamples on one side of 0."""

    mean: float
    low: float
    high: float
    p: float


def paired_bootstrap(
    a: Sequence[float], b: Sequence[float], *, resamples: int = RESAMPLES, confidence: float = CONFIDENCE, seed: int = 0
) -> Difference:
    """Compare two systems' means over the same queries by resampling the queries (percentile interval)."""
    if len(a) != len(b) or not len(a):
        msg = f"{len(a)} values of A and {len(b)} of B; give one of each for every query, and at least one query"
        raise InputError(msg)
    if not 0 < confidence < 1 or resamples < 1:
        msg = f"confidence is {confidence} and resamples {resamples}; give a confidence between 0 and 1, and at least 1 resample"
        raise ConfigError(msg)
    differences = np.asarray(b, dtype=np.float64) - np.asarray(a, dtype=np.float64)
    random, count = np.random.default_rng(seed), len(differences)
    means = np.concatenate(
        [
            differences[random.integers(0, count, (min(_AT_ONCE, resamples - start), count))].mean(axis=1)
            for start in range(0, resamples, _AT_ONCE)
        ]
    )
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    p = min(1.0, 2 * min(float((means <= 0).mean()), float((means >= 0).mean())))
    return Difference(float(differences.mean()), float(low), float(high), p)


def bootstrap_interval(values: Sequence[float], *, confidence: float = CONFIDENCE, seed: int = 0) -> tuple[float, float]:
    """Return the bounds of the mean over queries, by resampling them."""
    against_zero = paired_bootstrap([0.0] * len(values), values, confidence=confidence, seed=seed)
    return against_zero.low, against_zero.high
