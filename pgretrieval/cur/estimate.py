"""From a query's exact scores of some items to a query vector, whose inner products with item embeddings estimate all others.

With item embeddings E = U R, a row of R is about c E, where c are the row's scores of the anchor items. So every query is such a
vector c, and the anchor queries' vectors say which are likely: their mean, and their covariance. Scores of any items, anchors or
not, then give the most likely vector (a regression with that prior). For anchor items alone it is ANNCUR on a part of them; for
those and others it is what ADACUR and AXN do, and each round takes one search for inner products.
"""

from __future__ import annotations

import numpy as np

from pgretrieval.cur.inverse import Matrix
from pgretrieval.types import Int64Array

_JITTER = 1e-10  # of the mean variance, so that items with equal embeddings do no harm


class QueryModel:
    """What anchor queries say of query vectors: C (queries, anchors), and the mean square `error` of estimated scores."""

    def __init__(self, intersection: Matrix, error: float) -> None:
        self.mean: Matrix = intersection.mean(axis=0)
        centred = intersection - self.mean
        self._covariance: Matrix = centred.T @ centred / len(intersection)
        self._error = error

    def of_anchors(self, places: Int64Array, scores: Matrix) -> Matrix:
        """The query vector (anchors,) from the scores of the anchors at some places, or for several queries (queries, anchors).

        Of all anchors it is their scores.
        """
        if len(places) == len(self.mean) and scores.ndim == 1:
            vector = np.empty_like(self.mean)
            vector[places] = scores
            return vector
        return self._solved(self._covariance[:, places], self._covariance[np.ix_(places, places)], self.mean[places], scores)

    def of_items(self, embeddings: Matrix, scores: Matrix) -> Matrix:
        """The query vector (anchors,) from scores (items,) of any items with embeddings (items, anchors); the mean for none.

        An anchor's own scores are exact by another embedding than its stored one: the unit vector of its place.
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
