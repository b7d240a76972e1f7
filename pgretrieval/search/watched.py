"""A passage that is followed through the stages of a search."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pgretrieval.search.matches import BestTokens, HitMatches, best_of, shared
from pgretrieval.types import Float32Array, Int32Array


@dataclass(slots=True)
class Watched:
    """Passage to follow: what it lacked at the stage that left it out, its similarities, and its matches by the search's scorer.

    `similarity` is (passage tokens, query tokens); None if the index does not store the passage's vectors in order.
    """

    passage_id: int
    lacks: str | None = None
    similarity: Float32Array | None = None
    found: HitMatches | None = None

    @property
    def ids(self) -> Int32Array:
        """The passage's id, as an array."""
        return np.array([self.passage_id], dtype=np.int32)

    def after(self, passage_ids: Int32Array, otherwise: str) -> None:
        """Note whether the passage is among those that a stage leaves; `otherwise` says what it lacked."""
        if (passage_ids == self.passage_id).any():
            self.lacks = None
        elif self.lacks is None:
            self.lacks = otherwise

    def compared(self, similarity: Float32Array, divisor: float) -> None:
        """Keep all similarities, with the best of each query token."""
        self.similarity = similarity
        self.scored(best_of(similarity, np.array([0, len(similarity)], dtype=np.int64)), divisor)

    def scored(self, best: BestTokens, divisor: float) -> None:
        """Keep the best tokens, whose similarities sum to the score."""
        score = best.similarities.sum(axis=1, dtype=np.float64) / divisor
        self.found = shared(best, score.astype(np.float32), divisor, None)
