from __future__ import annotations

import numpy as np
import pytest

from pgretrieval.errors import ConfigError, InputError
from pgretrieval.evaluate.bootstrap import bootstrap_interval, paired_bootstrap


def test_the_interval_is_that_of_a_normal_mean():
    """Queries are resampled in pairs, and the quantiles match a normal mean."""
    random = np.random.default_rng(0)
    a = random.normal(0.5, 0.3, 400)
    differences = random.normal(0.02, 0.1, 400)
    found = paired_bootstrap(a, a + differences)
    half = 1.96 * differences.std() / np.sqrt(400)
    assert found.mean == pytest.approx(differences.mean())
    assert found.low == pytest.approx(differences.mean() - half, abs=0.0008)
    assert found.high == pytest.approx(differences.mean() + half, abs=0.0008)


def test_p_is_small_where_the_interval_leaves_zero_out():
    """p is small, and the difference has the right sign, if the interval excludes zero."""
    values = np.linspace(0, 1, 50)
    better = paired_bootstrap(values, values + np.linspace(0.01, 0.05, 50))
    assert better.low > 0
    assert better.p == 0
    assert paired_bootstrap(values, values).p == 1
    worse = paired_bootstrap(values + 0.1, values)
    assert worse.mean == pytest.approx(-0.1)
    assert worse.high < 0


def test_a_seed_repeats_it():
    random = np.random.default_rng(1)
    a, b = random.random(30), random.random(30)
    assert paired_bootstrap(a, b, seed=3) == paired_bootstrap(a, b, seed=3) != paired_bootstrap(a, b, seed=4)


def test_bad_input_is_refused():
    with pytest.raises(InputError, match="2 values of A and 1 of B"):
        paired_bootstrap([1.0, 2.0], [1.0])
    with pytest.raises(InputError, match="0 values of A"):
        paired_bootstrap([], [])
    with pytest.raises(ConfigError, match="confidence is 1"):
        paired_bootstrap([1.0], [1.0], confidence=1)


def test_p_is_two_sided():
    """A quarter of the resamples of these two runs are below 0, so p is about a half."""
    assert paired_bootstrap([0.0, 0.0], [3.0, -1.0]).p == pytest.approx(0.5, abs=0.03)


def test_as_many_resamples_as_asked_for():
    """The number of resamples is exact although they are drawn in batches."""
    one = paired_bootstrap([0.0] * 20, list(range(20)), resamples=1)
    assert one.low == one.high


def test_interval_of_a_mean_is_that_against_zero():
    """The interval surrounds the mean and shrinks with the number of queries."""
    values = [0.0, 1.0] * 50
    low, high = bootstrap_interval(values)
    assert low < 0.5 < high
    assert (low, high) == pytest.approx((0.4, 0.6), abs=0.02)
    wider = bootstrap_interval(values[:20])
    assert wider[1] - wider[0] > 2 * (high - low) * 0.9
