"""From a query's exact scores of some items to a query vector, whose inner products with item embeddings estimate all others.

With item embeddings E = U R, a row of R is about c E, where c are the row's scores of the anchor items. So every query is such a
vector c, or c M with embeddings M^-1 E, and the anchor queries' vectors say which are likely: their mean, and their
covariance. Scores of any items, anchors or not, then give the most likely vector (a regression with that prior). For anchor items
alone it is ANNCUR on a part of them; for those and others it is what ADACUR and AXN do, and each round takes one search for inner
products.
"""

from __future__ import annotations

import numpy as np

from pgretrieval.cur.inverse import Matrix
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
        centred = intersection - self._expected
        self._variance: Matrix = centred.T @ centred / len(intersection)
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
        towards = self._covariance @ embeddings.T
        return self._solved(towards, embeddings @ towards, embeddings @ self.mean, scores)

    def _solved(self, towards: Matrix, variance: Matrix, expected: Matrix, scores: Matrix) -> Matrix:
        if not len(expected):
            return self.mean
        ridge = self._error + _JITTER * max(float(np.trace(variance)) / len(variance), np.finfo(np.float64).tiny)
        weights = np.linalg.solve(variance + ridge * np.eye(len(variance)), (scores - expected).T)
        vector: Matrix = self.mean + (towards @ weights).T
        return vector
