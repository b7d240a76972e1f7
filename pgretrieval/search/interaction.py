"""Candidates of the probed centroids, and centroid interaction, the middle stage of PLAID: scores from the centroids of tokens."""

from __future__ import annotations

import numpy as np

from pgretrieval.db.candidates import ListedPassages, Probes
from pgretrieval.numerics.centroid_scores import CentroidScores, PassageCentroids
from pgretrieval.search.maxsim import best_first
from pgretrieval.types import Float32Array, Int32Array, Int64Array

_DENSE = 32  # passage ids per posting up to which a table of all ids costs less than sorting the postings


def best_listed(listed: ListedPassages, probes: Probes, limit: int) -> Int32Array:
    """Return the `limit` listed passages whose probed centroids have the highest sum of weights, best first.

    The same passages as those of the SQL function `candidates_by_postings`.
    """
    passage_ids, owners = distinct_ids(listed.passage_ids)
    sums = np.bincount(owners, weights=probes.scores[listed.probes]).astype(np.float32)
    return passage_ids[best_first(sums, passage_ids, limit)]


def centroid_interaction(scores: CentroidScores, passages: PassageCentroids) -> Float32Array:
    """Return MaxSim (passages,) with every token replaced by its centroid, at least 0 a query token (PLAID, section 4.2)."""
    return scores.maxsim(passages)


def best_by_interaction(scores: CentroidScores, passages: PassageCentroids, limit: int) -> PassageCentroids:
    """Return the `limit` passages with the highest centroid interaction."""
    return passages.some(best_first(centroid_interaction(scores, passages), passages.passage_ids, limit))


def near_the_best(
    scores: CentroidScores, passages: PassageCentroids, k: int, within: float, at_least: int, at_most: int
) -> PassageCentroids:
    """Return the passages whose centroid interaction is at most `within` below the k-th highest, the best of them if `at_most` are
    fewer, and no fewer than `at_least`.
    """
    found = centroid_interaction(scores, passages)
    best = best_first(found, passages.passage_ids, at_most)
    near = int((found[best] >= found[best[min(k, len(best)) - 1]] - within).sum())
    return passages.some(best[: max(near, at_least)])


def distinct_ids(ids: Int32Array) -> tuple[Int32Array, Int32Array]:
    """Return the distinct passage ids (ids,) in order, and the position of each among them."""
    most = int(ids.max(initial=0))
    if most > _DENSE * len(ids):
        distinct, positions = np.unique(ids, return_inverse=True)
        return distinct, positions.ravel().astype(np.int32)
    seen = np.zeros(most + 1, dtype=bool)
    seen[ids] = True
    places: Int64Array = np.cumsum(seen) - 1
    return np.flatnonzero(seen).astype(np.int32), places[ids].astype(np.int32)
