"""Proxies of less quality, for tests of other things."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pgretrieval.numerics import proxy_training


@contextmanager
def quick_proxies() -> Iterator[None]:
    """Train proxies on a tenth of the tokens and features: a second instead of ten."""
    with pytest.MonkeyPatch.context() as patch:
        for name, count in (("FEATURES", 384), ("ANCHORS", 1024), ("_TOKENS", 1024), ("_PASSAGES", 512)):
            patch.setattr(proxy_training, name, count)
        yield
