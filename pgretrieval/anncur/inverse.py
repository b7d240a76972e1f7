"""U, the regularised pseudo-inverse of the anchor queries' scores of the anchor items, in double precision.

The plain pseudo-inverse collapses where anchor queries and anchor items are about as many: the smallest singular values are noise
then, and inverting them makes the noise larger than the signal. So small ones are cut off or damped (docs/design/factorisation.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Matrix: TypeAlias = NDArray[np.float64]

Kind = Literal["truncation", "ridge"]
"""Singular values below a bound are left out, or all are damped."""


@dataclass(frozen=True, slots=True)
class Regularisation:
    """`strength` is a share of the largest singular value: the bound of a truncation, the square root of a ridge."""

    kind: Kind
    strength: float


REGULARISATIONS = (
    *(Regularisation("truncation", strength) for strength in (1e-12, 1e-6, 1e-4, 1e-3, 3e-3, 1e-2, 2e-2, 5e-2, 1e-1)),
    *(Regularisation("ridge", strength) for strength in (1e-4, 1e-3, 3e-3, 1e-2, 2e-2, 5e-2)),
)
"""What is tried on held-out queries. Scores with a large common offset need the small ones: it is the first singular value."""


class Decomposed:
    """The singular values of C (queries, items), from which inverses of any regularisation follow."""

    def __init__(self, scores: Matrix) -> None:
        self._left, self.values, self._right = np.linalg.svd(scores.astype(np.float64), full_matrices=False)

    def inverse(self, regularisation: Regularisation) -> Matrix:
        """U (items, queries)."""
        inverted: Matrix = (self._right.T * self._inverted(regularisation)) @ self._left.T
        return inverted

    def rank(self, regularisation: Regularisation) -> int:
        """How many singular values take part."""
        return int(np.count_nonzero(self._inverted(regularisation)))

    @property
    def condition(self) -> float:
        """The largest singular value over the smallest; infinite where that is zero."""
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
