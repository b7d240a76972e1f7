from __future__ import annotations

import numpy as np
import pytest

from pgretrieval.errors import InputError
from pgretrieval.evaluate.timing import percentiles


@pytest.mark.parametrize(
    ("ms", "p50", "p95"),
    [
        ([7.0], 7.0, 7.0),
        ([10.0, 0.0], 5.0, 9.5),  # 0 + 0.5 · 10, 0 + 0.95 · 10
        ([1, 2, 3, 4, 5], 3.0, 4.8),  # index 0.95 · 4 = 3.8: 4 + 0.8 · 1
        (np.arange(101.0), 50.0, 95.0),
    ],
)
def test_by_hand(ms, p50, p95):
    assert percentiles(ms) == {"p50": pytest.approx(p50), "p95": pytest.approx(p95)}


def test_values_are_plain_floats():
    assert all(type(value) is float for value in percentiles(np.ones(3, dtype=np.float32)).values())


@pytest.mark.parametrize("ms", [[], (), np.zeros(0)])
def test_no_times(ms):
    with pytest.raises(InputError, match="no measured times"):
        percentiles(ms)
