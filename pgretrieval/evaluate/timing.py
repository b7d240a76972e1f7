"""Summary of measured times."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pgretrieval.errors import InputError


def percentiles(ms: Sequence[float]) -> dict[str, float]:
    """Return {"p50", "p95"} of milliseconds, by linear interpolation."""
    if not len(ms):
        raise InputError("no measured times; percentiles need at least one")
    p50, p95 = np.percentile(ms, [50, 95])
    return {"p50": float(p50), "p95": float(p95)}
