"""The three knobs of a search and their defaults."""

from __future__ import annotations

from dataclasses import dataclass

from pgretrieval.errors import ConfigError

_STAGED_FROM = 20_000  # passages from which centroid interaction pays; docs/decisions.md has the measurements


@dataclass(frozen=True, slots=True)
class SearchSettings:
    """How far a search looks.

    `probes`: centroids looked up per query token. `candidates`: passages with the highest sum of probed centroid scores that are
    kept. `pruning`: how many of these the interaction with centroids alone leaves for decoding (PLAID's middle stage); None
    decodes all candidates.
    """

    probes: int
    candidates: int
    pruning: int | None


def choose_settings(
    k: int, passages: int, probes: int | None = None, candidates: int | None = None, pruning: int | None = None
) -> SearchSettings:
    """Defaults for `k` hits from about `passages` passages, where the caller gave none.

    Raises ConfigError unless every number is positive, and candidates and pruning are at least k.
    """
    for name, given in (("k", k), ("probes", probes), ("candidates", candidates), ("pruning", pruning)):
        if given is not None and (not isinstance(given, int) or isinstance(given, bool) or given < 1):
            msg = f"{name} is {given!r}; give a whole number of at least 1"
            raise ConfigError(msg)
    for name, given in (("candidates", candidates), ("pruning", pruning)):
        if given is not None and given < k:
            msg = f"{name} is {given}, less than the {k} hits asked for; give at least k"
            raise ConfigError(msg)
    staged = passages >= _STAGED_FROM or pruning is not None
    if candidates is None:
        candidates = max(1024 if staged else 256, 4 * k, pruning or 0)
    if pruning is None and staged:
        pruning = max(256, 2 * k)
    if pruning is not None and pruning >= candidates:
        pruning = None
    return SearchSettings(probes or (4 if k <= 100 else 8), candidates, pruning)
