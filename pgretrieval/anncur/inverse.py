"""U, the regularised pseudo-inverse of the anchor queries' scores of the anchor items, in double precision.

The plain pseudo-inverse fails if anchor queries and anchor items are about equal in number: the smallest singular values are then
noise, and their inverses exceed the signal. Small values are therefore truncated or damped (docs/design/factorisation.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Matrix: TypeAlias = NDArray[np.float64]

Regularising = Literal["auto", "none"]
"""Choose the regularisation on held-out queries, or take the plain pseudo-inverse."""

REGULARISING: tuple[Regularising, ...] = ("auto", "none")

Kind = Literal["truncation", "ridge"]
"""Drop singular values below a bound, or damp all of them."""


@dataclass(frozen=True, slots=True)
class Regularisation:
    """Regularisation of the inverse. `strength` is relative to the largest singular value: the bound of a truncation, the square
    root of a ridge.
    """

    kind: Kind
    strength: float


REGULARISATIONS = (
    *(Regularisation("truncation", strength) for strength in (1e-12, 1e-6, 1e-4, 1e-3, 3e-3, 1e-2, 2e-2, 5e-2, 1e-1)),
    *(Regularisation("ridge", strength) for strength in (1e-4, 1e-3, 3e-3, 1e-2, 2e-2, 5e-2)),
)
"""Candidates, compared on held-out queries. A large common offset is the first singular value, so it needs small strengths."""

PLAIN = Regularisation("truncation", 1e-15)
"""The plain pseudo-inverse, as in ANNCUR's code: only singular values that rounding makes are dropped."""


class Decomposed:
    """Singular value decomposition of C (queries, items), which gives the inverse for any regularisation."""

    def __init__(self, scores: Matrix) -> None:
        self._left, self.values, self._right = np.linalg.svd(scores.astype(np.float64), full_matrices=False)

    def inverse(self, regularisation: Regularisation) -> Matrix:
        """Return U (items, queries)."""
        inverted: Matrix = (self._right.T * self._inverted(regularisation)) @ self._left.T
        return inverted

    def rank(self, regularisation: Regularisation) -> int:
        """Return the number of singular values in use."""
        return int(np.count_nonzero(self._inverted(regularisation)))

    @property
    def condition(self) -> float:
        """Largest singular value divided by the smallest; infinite if that is zero."""
        return float(self.values[0] / self.values[-1]) if self.values[-1] else float("inf")

    def _inverted(self, regularisation: Regularisation) -> Matrix:
        bound = regularisation.strength * self.values[0]
        if not bound:
            return np.zeros_like(self.values)
        if regularisation.kind == "ridge":
            damped: Matrix = self.values / (self.values**2 + bound**2)
            return damped
        kept = self.values > bound
        return np.where(kept, 1 / np.where(kept, self.values, 1), 0)
