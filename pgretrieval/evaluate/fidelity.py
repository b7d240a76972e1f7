"""Agreement of an approximate search with exact search."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from pgretrieval.errors import ConfigError, InputError


def fidelity(returned: Sequence[Sequence[str]], exact: Sequence[Sequence[str]], k: int) -> float:
    """Return the share of the exact top `k` that the returned top `k` contains, from 0 to 1, as a mean over queries.

    Both contain one list of ids for each query, best first. A query without exact results counts 1.
    """
    if k < 1:
        raise ConfigError(f"k is {k}; it must be at least 1")
    if len(returned) != len(exact):
        raise InputError(f"{len(returned)} returned lists but {len(exact)} exact ones; give one of each for every query")
    if not exact:
        raise InputError("no queries; fidelity needs at least one")
    shares = [_share(set(found[:k]), set(best[:k])) for found, best in zip(returned, exact, strict=True)]
    return fmean(shares)


def _share(found: set[str], best: set[str]) -> float:
    return len(found & best) / len(best) if best else 1.0
