"""The three knobs of a search and their defaults."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from pgretrieval.errors import ConfigError


@dataclass(frozen=True, slots=True)
class SearchSettings:
    """How far a search looks.

    `probes`: centroids looked up per query token. `candidates`: passages with the highest sum of probed centroid scores that are
    kept. `pruning`: how many of these the interaction with centroids alone leaves for decoding (PLAID's middle stage).
    """

    probes: int
    candidates: int
    pruning: int


_CANDIDATES_BY_SIZE = ((10_000, 512), (40_000, 1024), (160_000, 2048))
_CANDIDATES_BEYOND = 4096


@dataclass(frozen=True, slots=True)
class Knobs:
    """What a caller sets of `SearchSettings`; None leaves it to the defaults."""

    probes: int | None = None
    candidates: int | None = None
    pruning: int | None = None


def choose_settings(k: int, passages: int, knobs: Knobs) -> SearchSettings:
    """Defaults for `k` hits from about `passages` passages, where the caller gave none; docs/decisions.md has the measurements.

    Raises ConfigError unless every number is positive, and candidates and pruning are at least k.
    """
    probes, candidates, pruning = knobs.probes, knobs.candidates, knobs.pruning
    for name, given in (("k", k), ("probes", probes), ("candidates", candidates), ("pruning", pruning)):
        if given is not None and (not isinstance(given, int) or isinstance(given, bool) or given < 1):
            msg = f"{name} is {given!r}; give a whole number of at least 1"
            raise ConfigError(msg)
    for name, given in (("candidates", candidates), ("pruning", pruning)):
        if given is not None and given < k:
            msg = f"{name} is {given}, less than the {k} hits asked for; give at least k"
            raise ConfigError(msg)
    if probes is None:
        probes = 4 if k <= 100 else 8
    if pruning is None:
        pruning = min(max(128, 4 * k), candidates or sys.maxsize)
    if candidates is None:
        candidates = max(_candidates_for(passages), 16 * k, pruning)
    return SearchSettings(probes, candidates, min(pruning, candidates))


def _candidates_for(passages: int) -> int:
    """More passages crowd the candidates of ten hits: the sum of probed scores must keep more of them."""
    return next((kept for limit, kept in _CANDIDATES_BY_SIZE if passages < limit), _CANDIDATES_BEYOND)
