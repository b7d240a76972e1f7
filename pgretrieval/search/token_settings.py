"""How a search by retrieved tokens looks for them, by default."""

from __future__ import annotations

from dataclasses import dataclass

from pgretrieval import validate
from pgretrieval.search.options import ScanOptions
from pgretrieval.types import Imputation, Reduction, Rerank

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


def choose_token_settings(k: int, options: ScanOptions) -> TokenSettings:
    """Defaults for `k` hits where the caller gave none; docs/design/tokens.md has the measurements."""
    return TokenSettings(
        options.probes,
        options.k_tokens,
        options.imputation,
        options.reduction,
        options.rerank,
        options.rerank_depth or min(max(_RERANKED, _RERANKED_PER_HIT * k), validate.INT4),
    )
