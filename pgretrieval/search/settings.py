"""How far a search by all tokens looks, by default."""

from __future__ import annotations

from dataclasses import dataclass

from pgretrieval import validate
from pgretrieval.errors import ConfigError
from pgretrieval.search.options import ScanOptions
from pgretrieval.types import Generator


@dataclass(frozen=True, slots=True)
class SearchSettings:
    """How far a search looks.

    `generator`: where candidates come from, "proxy" or "postings". `probes`: centroids looked up per query token, for postings.
    `candidates`: passages that the generator gives. `pruning`: how many of these the interaction with centroids alone leaves for
    decoding (PLAID's middle stage).
    """

    generator: Generator
    probes: int
    candidates: int
    pruning: int


@dataclass(frozen=True, slots=True)
class Searched:
    """What defaults follow from: passages and tokens of the collection, its choice of generator, and whether it has proxies.

    `vectors_per_passage` is the number of vectors that every passage has, None where that differs.
    """

    passages: int
    tokens: int
    generator: Generator
    has_proxies: bool
    vectors_per_passage: int | None = None


_MANY_HITS = 50
_PROBES_BY_SIZE = ((40_000, 8),)
_PROBES_BEYOND = 4  # lists are long there
_PROBES_FOR_MANY = 8
_PROBES_WHERE_FEW = 4  # times as many where passages are pooled: few vectors, so lists are short and hardly overlap
_PROBES_WHERE_FEW_FOR_MANY = 8
_CANDIDATES_BY_SIZE = ((10_000, 512), (40_000, 768))
_CANDIDATES_BEYOND = 1024
_CANDIDATES_AT_MOST = 4096
_INTERACTION_TOKENS = 100_000
_PROXY_CANDIDATES_BY_SIZE = ((10_000, 512),)
_PROXY_CANDIDATES_BEYOND = 1000
_PRUNING_BY_SIZE = ((40_000, 128),)
_PRUNING_BEYOND = 192
_PRUNING_AT_MOST = 1000
_DECODED_TOKENS = 16_000
_CANDIDATES_PER_HIT = 24
_PRUNING_PER_HIT = 5


def choose_settings(k: int, searched: Searched, options: ScanOptions) -> SearchSettings:
    """Defaults for `k` hits where the caller gave none; docs/design/stages.md has the measurements.

    The request must have been checked. Raises ConfigError where proxies are asked for and the collection has none.
    """
    generator = options.generator or searched.generator
    if generator == "proxy" and not searched.has_proxies:
        msg = 'the collection has no proxies; create it with generator="proxy", or search it with generator="postings"'
        raise ConfigError(msg)
    if generator == "auto":
        generator = "postings"  # better at every size that was measured
    probes, candidates, pruning = options.probes, options.candidates, options.pruning
    if probes is None:
        probes = _probes(k, searched)
    if pruning is None:
        pruning = min(max(_decoded_passages(searched), _PRUNING_PER_HIT * k), candidates or validate.INT4)
    if candidates is None:
        count = _proxy_candidates(searched) if generator == "proxy" else _posting_candidates(searched)
        candidates = min(max(count, _CANDIDATES_PER_HIT * k, pruning), validate.INT4)
    return SearchSettings(generator, probes, candidates, min(pruning, candidates))


def _probes(k: int, searched: Searched) -> int:
    many = k >= _MANY_HITS
    usual = _PROBES_FOR_MANY if many else _by_size(_PROBES_BY_SIZE, searched.passages, _PROBES_BEYOND)
    if searched.vectors_per_passage is None:
        return usual
    return usual * (_PROBES_WHERE_FEW_FOR_MANY if many else _PROBES_WHERE_FEW)


def _posting_candidates(searched: Searched) -> int:
    """More where many passages crowd the candidates, or where short ones make the interaction cheap, which costs by the token."""
    affordable = _INTERACTION_TOKENS * searched.passages // max(searched.tokens, 1)
    return max(_by_size(_CANDIDATES_BY_SIZE, searched.passages, _CANDIDATES_BEYOND), min(affordable, _CANDIDATES_AT_MOST))


def _decoded_passages(searched: Searched) -> int:
    """More where short passages make decoding cheap: their centroids tell less about them."""
    affordable = _DECODED_TOKENS * searched.passages // max(searched.tokens, 1)
    return max(_by_size(_PRUNING_BY_SIZE, searched.passages, _PRUNING_BEYOND), min(affordable, _PRUNING_AT_MOST))


def _proxy_candidates(searched: Searched) -> int:
    """No more than one scan of the vector index gives."""
    return _by_size(_PROXY_CANDIDATES_BY_SIZE, searched.passages, _PROXY_CANDIDATES_BEYOND)


def _by_size(steps: tuple[tuple[int, int], ...], passages: int, beyond: int) -> int:
    return next((kept for limit, kept in steps if passages < limit), beyond)
