"""The knobs of searches that score by retrieved tokens, and their defaults."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from pgretrieval import validate
from pgretrieval.errors import ConfigError
from pgretrieval.types import Generator, Reduction, Rerank, Scorer, Scoring

Imputation: TypeAlias = Literal["kth", "warp", "zero"] | float
"""What a passage scores for a query token that retrieved none of its tokens.

"kth": the last score that the query token retrieved (XTR). "warp": the score of the centroid up to which the best hold more than
sqrt(8 * tokens) tokens (WARP). "zero", or a number.
"""

SCORERS: tuple[Scorer, ...] = ("maxsim", "xtr", "colxtr")
REDUCTIONS: tuple[Reduction, ...] = ("mean", "sum")
RERANKS: tuple[Rerank, ...] = ("none", "maxsim")
MAX_IMPUTATION = 1e9
_K_TOKENS = 300
_SEEN_PER_TOKEN = 4
_RERANKED = 128
_RERANKED_PER_HIT = 5


@dataclass(frozen=True, slots=True)
class TokenSettings:
    """How a search retrieves tokens and scores by them.

    `probes`: centroids looked up per query token; None takes as many as hold `seen` tokens. `k_tokens`: tokens that each query
    token retrieves of those of all probed centroids. `reranked`: how many of the best passages are scored again by all their
    tokens if `rerank` is "maxsim", or have a part in a hybrid search.
    """

    probes: int | None
    k_tokens: int
    imputation: Imputation
    reduction: Reduction
    rerank: Rerank
    reranked: int

    @property
    def seen(self) -> int:
        """Tokens to look at for each query token: the best are not all in its nearest centroids (docs/design/tokens.md)."""
        return _SEEN_PER_TOKEN * self.k_tokens if self.probes is None else 0


@dataclass(frozen=True, slots=True)
class TokenKnobs:
    """What a caller sets of `TokenSettings`; None leaves it to the defaults."""

    k_tokens: int | None = None
    imputation: Imputation | None = None
    reduction: Reduction | None = None
    rerank: Rerank | None = None


def read_token_knobs(scoring: Scoring, candidates: Any, k_tokens: Any, imputation: Any, reduction: Any, rerank: Any) -> TokenKnobs:
    """The knobs as a search of a collection takes them. Raises ConfigError for what it has no use for."""
    given = {"k_tokens": k_tokens, "imputation": imputation, "reduction": reduction, "rerank": rerank}
    unused = [name for name, value in given.items() if value is not None]
    if unused and not scoring.by_tokens:
        msg = (
            f"{unused[0]} is {validate.shown(given[unused[0]])}, and the collection is scored by all tokens of a passage; leave it "
            'out, or create a collection with scorer="xtr" or "colxtr"'
        )
        raise ConfigError(msg)
    if candidates is not None and scoring.by_tokens:
        msg = (
            f"candidates is {validate.shown(candidates)}, and the candidates of this collection are the passages of the retrieved "
            "tokens; leave it out, and set probes and k_tokens"
        )
        raise ConfigError(msg)
    k_tokens = validate.whole_or_none("k_tokens", k_tokens)
    number = validate.is_number(imputation) and abs(imputation) <= MAX_IMPUTATION
    if not number and not (imputation is None or (isinstance(imputation, str) and imputation in ("kth", "warp", "zero"))):
        msg = f'imputation is {validate.shown(imputation)}; give "kth", "warp", "zero", or a finite number'
        raise ConfigError(msg)
    if reduction is not None:
        reduction = validate.choice("reduction", reduction, REDUCTIONS)
    if rerank is not None:
        rerank = validate.choice("rerank", rerank, RERANKS)
    if rerank == "maxsim" and scoring.rerank is None:
        msg = (
            'rerank is "maxsim", and the collection stores no codes by passage; leave rerank out, or create a collection with '
            'rerank="maxsim"'
        )
        raise ConfigError(msg)
    return TokenKnobs(k_tokens, float(imputation) if number else imputation, reduction, rerank)


def choose_token_settings(k: int, scoring: Scoring, knobs: TokenKnobs, probes: int | None, pruning: int | None) -> TokenSettings:
    """Defaults for `k` hits where the caller gave none; docs/design/tokens.md has the measurements."""
    return TokenSettings(
        probes,
        knobs.k_tokens or _K_TOKENS,
        "kth" if knobs.imputation is None else knobs.imputation,
        reduction_of(scoring, knobs),
        knobs.rerank or scoring.rerank or "none",
        pruning or min(max(_RERANKED, _RERANKED_PER_HIT * k), validate.INT4),
    )


def reduction_of(scoring: Scoring, knobs: TokenKnobs) -> Reduction:
    """XTR's paper has the mean over the query's tokens, ColXTR's the sum; so has MaxSim."""
    return knobs.reduction or ("mean" if scoring.scorer == "xtr" else "sum")


def check_scoring(
    scorer: Scorer, rerank: str | None, unit_vectors: bool | None, candidates: Generator, encodes_unit: bool
) -> Scoring:
    """What a collection is to be scored by, as the caller and its encoder say. Raises ConfigError for what does not go together."""
    scorer = validate.choice("scorer", scorer, SCORERS)
    if rerank is not None:
        rerank = validate.choice("rerank", rerank, RERANKS)
    scoring = Scoring(scorer, "maxsim" if rerank == "maxsim" else None, unit_vectors is not False)
    if not scoring.by_tokens:
        if scoring.rerank is not None:
            msg = 'rerank is "maxsim", which scorer "maxsim" does anyway; leave rerank out, or give scorer="xtr" or "colxtr"'
            raise ConfigError(msg)
        if not scoring.unit_vectors:
            msg = 'unit_vectors is False, and scorer "maxsim" is over unit vectors; leave it out, or give scorer="xtr" or "colxtr"'
            raise ConfigError(msg)
        return scoring
    if candidates == "proxy":
        msg = f'candidates is "proxy", and scorer {scorer!r} finds passages by their tokens; leave candidates out'
        raise ConfigError(msg)
    unit = encodes_unit if unit_vectors is None else unit_vectors
    return Scoring(scoring.scorer, scoring.rerank, unit)
