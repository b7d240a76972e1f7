"""The three knobs of a search and their defaults."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from numbers import Integral

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
_CANDIDATES_AT_MOST = 4096
_INTERACTION_TOKENS = 150_000
_PROBES = 8


@dataclass(frozen=True, slots=True)
class Knobs:
    """What a caller sets of `SearchSettings`; None leaves it to the defaults."""

    probes: int | None = None
    candidates: int | None = None
    pruning: int | None = None


def check_request(k: int, knobs: Knobs) -> None:
    """Raise ConfigError unless every number is positive, and candidates and pruning are at least k."""
    for name, given in (("k", k), ("probes", knobs.probes), ("candidates", knobs.candidates), ("pruning", knobs.pruning)):
        if (given is not None or name == "k") and (not isinstance(given, Integral) or isinstance(given, bool) or given < 1):
            msg = f"{name} is {given!r}; give a whole number of at least 1"
            raise ConfigError(msg)
    for name, given in (("candidates", knobs.candidates), ("pruning", knobs.pruning)):
        if given is not None and given < k:
            msg = f"{name} is {given}, less than the {k} hits asked for; give at least k"
            raise ConfigError(msg)


def choose_settings(k: int, passages: int, tokens: int, knobs: Knobs) -> SearchSettings:
    """Defaults for `k` hits from about `passages` passages of `tokens` tokens in all, where the caller gave none.

    docs/decisions.md has the measurements. The request must have been checked.
    """
    probes, candidates, pruning = knobs.probes, knobs.candidates, knobs.pruning
    if probes is None:
        probes = _PROBES
    if pruning is None:
        pruning = min(max(128, 4 * k), candidates or sys.maxsize)
    if candidates is None:
        candidates = max(_candidates_for(passages, tokens), 16 * k, pruning)
    return SearchSettings(probes, candidates, min(pruning, candidates))


def _candidates_for(passages: int, tokens: int) -> int:
    """As many as centroid interaction can afford, which costs by the token; more where many passages crowd the candidates."""
    affordable = _INTERACTION_TOKENS * passages // max(tokens, 1)
    crowded = next((kept for limit, kept in _CANDIDATES_BY_SIZE if passages < limit), _CANDIDATES_AT_MOST)
    return max(crowded, min(affordable, _CANDIDATES_AT_MOST))
