"""From a query's exact scores of some items to a query vector, whose inner products with item embeddings estimate all others.

With item embeddings E = U R, a row of R is about c E, where c are the row's scores of the anchor items. So every query is such a
vector c, or c M with embeddings M^-1 E, and the anchor queries' vectors say which are likely: their mean, and their
covariance. Scores of any items, anchors or not, then give the most likely vector (a regression with that prior). For anchor items
alone it is ANNCUR on a part of them; for those and others it is what ADACUR and AXN do, and each round takes one search for inner
products.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from pgretrieval.anncur.inverse import Matrix
from pgretrieval.types import Int64Array

_JITTER = 1e-10  # of the mean variance, so that items with equal embeddings do no harm


class QueryModel:
    """What anchor queries say of query vectors.

    `intersection` is C (queries, anchors), `error` the mean square error of estimated scores; `directions` M (anchors, anchors),
    None where query vectors are anchor scores.
    """

    def __init__(self, intersection: Matrix, error: float, directions: Matrix | None = None) -> None:
        anchors = intersection.shape[1]
        self._directions: Matrix = np.eye(anchors) if directions is None else directions
        self.anchor_vectors: Matrix = np.eye(anchors) if directions is None else np.linalg.inv(directions).T
        """(anchors, anchors): those by which query vectors tell the anchors' own exact scores."""
        self._expected: Matrix = intersection.mean(axis=0)
        self._centred: Matrix = intersection - self._expected
        self._variance: Matrix = self._centred.T @ self._centred / len(intersection)
        self._towards: Matrix = self._directions.T @ self._variance
        self.mean: Matrix = self._expected @ self._directions
        self._covariance: Matrix = self._towards @ self._directions
        self._error = error

    def of_anchors(self, places: Int64Array, scores: Matrix) -> Matrix:
        """The query vector (anchors,) from the scores of the anchors at some places, or for several queries (queries, anchors).

        Of all anchors it follows from their scores alone.
        """
        if len(places) == len(self.mean) and scores.ndim == 1:
            vector: Matrix = scores @ self._directions[places]
            return vector
        return self._solved(self._towards[:, places], self._variance[np.ix_(places, places)], self._expected[places], scores)

    def of_items(self, embeddings: Matrix, scores: Matrix) -> Matrix:
        """The query vector (anchors,) from scores (items,) of any items with embeddings (items, anchors); the mean for none.

        An anchor's own scores are exact by another embedding than its stored one: that of `anchor_vectors`.
        """
        if not len(embeddings):
            return self.mean
        together = self._covariance @ embeddings.T
        left = scores - embeddings @ self.mean
        ridge = self._ridge(float(np.einsum("ia,ai->", embeddings, together)) / len(embeddings))
        if len(embeddings) <= len(self._root):
            vector: Matrix = self.mean + together @ np.linalg.solve(embeddings @ together + ridge * np.eye(len(left)), left)
            return vector
        # The same by least squares in as many unknowns as the covariance has directions: R' y with |E R' y - left|^2 + ridge |y|^2
        # least, where R'R is the covariance. Not by normal equations, whose condition is the square.
        directions = len(self._root)
        whole = np.vstack([embeddings @ self._root.T, np.sqrt(ridge) * np.eye(directions)])
        basis, triangle = np.linalg.qr(whole)
        solved: Matrix = self.mean + np.linalg.solve(triangle, basis[: len(left)].T @ left) @ self._root
        return solved

    @cached_property
    def _root(self) -> Matrix:
        """(directions, anchors) R, where R'R is the covariance of query vectors."""
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
