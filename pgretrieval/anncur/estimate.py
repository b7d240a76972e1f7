"""Query vectors from exact scores of some items; inner products with item embeddings then estimate the other scores.

For item embeddings E = U R, a row of R is about c E, where c is the row's scores of the anchor items. Every query is such a vector
c, or c M with embeddings M^-1 E. The mean and the covariance of the anchor queries' vectors are a prior, and a regression with this
prior gives the most likely vector from scores of any items. With anchor items only this is ANNCUR on a part of them; with other
items it is the estimate of ADACUR and AXN, and each round takes one search for inner products.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from pgretrieval.anncur.inverse import Matrix
from pgretrieval.types import Int64Array

_JITTER = 1e-10  # share of the mean variance; keeps the system solvable if items have equal embeddings


class QueryModel:
    """Prior distribution of query vectors, from the anchor queries.

    `intersection` is C (queries, anchors), `error` the mean square error of estimated scores, `directions` M (anchors, anchors), or
    None if query vectors are anchor scores.
    """

    def __init__(self, intersection: Matrix, error: float, directions: Matrix | None = None) -> None:
        anchors = intersection.shape[1]
        self._directions: Matrix = np.eye(anchors) if directions is None else directions
        self.anchor_vectors: Matrix = np.eye(anchors) if directions is None else np.linalg.inv(directions).T
        """(anchors, anchors): embeddings whose products with query vectors are the anchors' exact scores."""
        self._expected: Matrix = intersection.mean(axis=0)
        self._centred: Matrix = intersection - self._expected
        self._variance: Matrix = self._centred.T @ self._centred / len(intersection)
        self._towards: Matrix = self._directions.T @ self._variance
        self.mean: Matrix = self._expected @ self._directions
        self._covariance: Matrix = self._towards @ self._directions
        self._error = error

    def of_anchors(self, places: Int64Array, scores: Matrix) -> Matrix:
        """Return the query vector (anchors,) from the scores of the anchors at `places`; (queries, anchors) for several queries.

        If all anchors are scored, no prior is used.
        """
        if len(places) == len(self.mean) and scores.ndim == 1:
            vector: Matrix = scores @ self._directions[places]
            return vector
        return self._solved(self._towards[:, places], self._variance[np.ix_(places, places)], self._expected[places], scores)

    def of_items(self, embeddings: Matrix, scores: Matrix) -> Matrix:
        """Return the query vector (anchors,) from scores (items,) of items with embeddings (items, anchors); the mean for no items.

        Anchors need their rows of `anchor_vectors`, not their stored embeddings, for their scores to be exact.
        """
        if not len(embeddings):
            return self.mean
        together = self._covariance @ embeddings.T
        left = scores - embeddings @ self.mean
        ridge = self._ridge(float(np.einsum("ia,ai->", embeddings, together)) / len(embeddings))
        if len(embeddings) <= len(self._root):
            vector: Matrix = self.mean + together @ np.linalg.solve(embeddings @ together + ridge * np.eye(len(left)), left)
            return vector
        # Equivalent least squares with one unknown for each direction of the covariance: R' y minimises |E R' y - left|^2 +
        # ridge |y|^2, where R'R is the covariance. QR, because normal equations square the condition number.
        directions = len(self._root)
        whole = np.vstack([embeddings @ self._root.T, np.sqrt(ridge) * np.eye(directions)])
        basis, triangle = np.linalg.qr(whole)
        solved: Matrix = self.mean + np.linalg.solve(triangle, basis[: len(left)].T @ left) @ self._root
        return solved

    @cached_property
    def _root(self) -> Matrix:
        """Square root R (directions, anchors) of the covariance of query vectors: R'R."""
        root: Matrix = np.linalg.qr(self._centred @ self._directions / np.sqrt(len(self._centred))).R
        return root

    def _ridge(self, mean_variance: float) -> float:
        return self._error + _JITTER * max(mean_variance, float(np.finfo(np.float64).tiny))

    def _solved(self, towards: Matrix, variance: Matrix, expected: Matrix, scores: Matrix) -> Matrix:
        if not len(expected):
            return self.mean
        ridge = self._ridge(float(np.trace(variance)) / len(variance))
        weights = np.linalg.solve(variance + ridge * np.eye(len(variance)), (scores - expected).T)
        vector: Matrix = self.mean + (towards @ weights).T
        return vector
