"""Hybrid search: candidates by words and dense vectors, and a fused score with late interaction, as in SQL."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pgretrieval import validate
from pgretrieval.db import candidates as read
from pgretrieval.db.candidates import PendingScores
from pgretrieval.db.handles import CollectionTables
from pgretrieval.encode.registry import MINILM
from pgretrieval.errors import ConfigError
from pgretrieval.types import Float32Array, Fusion, HybridQuery, Int32Array, Int64Array, Restriction

_WORDS_AT_MOST = 1000  # passages with word scores; others count with the lowest of these scores
_JOINING = 64
_JOINING_PER_HIT = 5
MAX_WEIGHT = 1e9  # keeps the sum of three scores finite
USUAL = 0.35, 0.75, 0.47
"""By what share of itself the best score exceeds the mean: late interaction, words, dense vectors."""
POWER = 3
"""Power of by how much more or less it does than usual, with MiniLM's scores."""

DEFAULT_FUSION = Fusion("score", (1.0, 0.3, 0.3), 60)
"""Fusion of a hybrid search unless it asks for another."""

Scores = NDArray[np.float64]
_NOTHING = np.empty(0, dtype=np.int32), np.empty(0, dtype=np.float32)


class Parts(NamedTuple):
    """Weighted scores (hits,) of each kind that a hybrid search has, which sum to the fused scores.

    `slope` is what 1 of a late-interaction score adds to the fused one; None if that follows from ranks.
    """

    kinds: dict[str, Scores]
    slope: float | None


class HybridScores:
    """Scores of words and dense vectors for one query. The constructor sends the statements; results are read when needed."""

    def __init__(
        self, tables: CollectionTables, query: HybridQuery, k: int, candidates: int, restriction: Restriction | None
    ) -> None:
        self._tables = tables
        self._query = query
        self._joining = min(max(_JOINING, _JOINING_PER_HIT * k), validate.INT4)
        self._listed = max(_WORDS_AT_MOST, candidates)
        where = tables, restriction or Restriction()
        self._words = None if query.text is None else read.by_words(*where, query.text, self._listed)
        self._near = None if query.dense is None else read.by_dense(*where, query.dense, self._joining)
        self._dense: PendingScores | None = None
        self._word_ids, self._word_scores = _NOTHING

    def join(self, passage_ids: Int32Array) -> Int32Array:
        """Add the best passages by words and by dense vectors, and request the dense scores of all."""
        if self._words:
            self._word_ids, self._word_scores = self._words.read()
        order = np.lexsort((self._word_ids, -self._word_scores))
        groups = [passage_ids, self._word_ids[order[: self._joining]]]
        if self._near and self._query.dense is not None:
            groups.append(self._near.read()[0])
            joined = np.unique(np.concatenate(groups))
            self._dense = read.dense_scores(self._tables, joined, self._query.dense)
            return joined
        return np.unique(np.concatenate(groups))

    @cached_property
    def _dense_scores(self) -> tuple[Int32Array, Float32Array]:
        return self._dense.read() if self._dense else _NOTHING

    def fuse(self, passage_ids: Int32Array, late: Float32Array) -> Float32Array:
        """Return fused scores (passages,) from late-interaction scores and the requested ones."""
        return fuse(self._query.fusion, self._query.power, passage_ids, *self._kinds(passage_ids, late))

    def parts(self, passage_ids: Int32Array, late: Float32Array, hits: Int64Array) -> Parts:
        """Return the parts of the fused scores of some of the passages, by their positions."""
        fusion = self._query.fusion
        power = self._query.power
        weighted = np.array(fusion.weights)[:, None] * scaled(fusion, power, passage_ids, *self._kinds(passage_ids, late))
        asked = {"late": True, "words": self._query.text is not None, "dense": self._query.dense is not None}
        kinds = {name: part[hits] for (name, there), part in zip(asked.items(), weighted, strict=True) if there}
        slope = fusion.weights[0] * _slope(late.astype(np.float64), USUAL[0], power)
        return Parts(kinds, None if fusion.by == "rank" else slope)

    def _kinds(self, passage_ids: Int32Array, late: Float32Array) -> tuple[Scores, Scores, Scores, float]:
        dense = _scores_of(passage_ids, *self._dense_scores)
        words = _scores_of(passage_ids, self._word_ids, self._word_scores)
        least = float(self._word_scores.min()) if len(self._word_scores) == self._listed else 0.0
        return late.astype(np.float64), words, dense, least


def power_for(encoder: Mapping[str, object] | None) -> int:
    """Return POWER for the scores of "minilm", 0 for those of others and of given vectors, for which other shares are usual."""
    return POWER if encoder and encoder["kind"] == MINILM else 0


def fuse(
    fusion: Fusion, power: int, passage_ids: Int32Array, late: Scores, words: Scores, dense: Scores, least_words: float
) -> Float32Array:
    """Return the weighted sum of three kinds of scores (passages,), NaN where a passage has none."""
    parts = scaled(fusion, power, passage_ids, late, words, dense, least_words)
    fused: Float32Array = (np.array(fusion.weights) @ parts).astype(np.float32)
    return fused


def scaled(
    fusion: Fusion, power: int, passage_ids: Int32Array, late: Scores, words: Scores, dense: Scores, least_words: float
) -> Scores:
    """Return three kinds of scores on one scale (3, passages).

    By "score" each kind is standardised to mean 0 and variance 1, and weighs more where its best score stands out unless `power` is
    0; passages without a word score count as `least_words`. By "rank" a score is 1 / (rank_constant + rank), and 0 where a passage
    has none (Cormack, Clarke and Buettcher 2009).
    """
    if fusion.by == "rank":
        return np.stack([_reciprocal_ranks(kind, passage_ids, fusion.rank_constant) for kind in (late, words, dense)])
    kinds = late, np.where(np.isnan(words), least_words, words), dense
    return np.stack([_standard(kind, usual, power) for kind, usual in zip(kinds, USUAL, strict=True)])


def read_fusion(fusion: Any, weights: Any, rank_constant: Any) -> Fusion:
    """Check the fusion options of a hybrid search. Raises ConfigError, naming the value."""
    by = validate.choice("fusion", fusion, ("score", "rank"))
    of = "three numbers, the weights of late interaction, words and dense vectors"
    given = list(validate.listed("weights", weights, of))
    if len(given) != 3:
        msg = f"weights are {validate.shown(weights)}; give {of}"
        raise ConfigError(msg)
    late, words, dense = (validate.number("weights", weight, -MAX_WEIGHT, MAX_WEIGHT) for weight in given)
    return Fusion(by, (late, words, dense), validate.whole("rank_constant", rank_constant, 0))


def _scores_of(passage_ids: Int32Array, scored_ids: Int32Array, scores: Float32Array) -> Scores:
    """Return the score of each passage, NaN where it has none."""
    order = np.argsort(scored_ids)
    places = np.searchsorted(scored_ids, passage_ids, sorter=order)
    found = np.full(len(passage_ids), np.nan)
    inside = places < len(scored_ids)
    candidates = order[places[inside]]
    found[inside] = np.where(scored_ids[candidates] == passage_ids[inside], scores[candidates], np.nan)
    return found


def _standard(scores: Scores, usual: float, power: int) -> Scores:
    known = scores[~np.isnan(scores)]
    if not len(known):
        return np.zeros_like(scores)
    standard: Scores = np.nan_to_num((scores - known.mean()) * _slope(known, usual, power))
    return standard


def _slope(known: Scores, usual: float, power: int) -> float:
    """Return by how much 1 of a score counts: the reciprocal of the deviation, and how the best stands out, compared with usual."""
    deviation, best, mean = float(known.std()), float(known.max()), float(known.mean())
    if not deviation:
        return 0.0
    stands_out = min((best - mean) / abs(best), 1.0) if best else 1.0
    return float((stands_out / usual) ** power / deviation)


def _reciprocal_ranks(scores: Scores, passage_ids: Int32Array, constant: int) -> Scores:
    known = np.flatnonzero(~np.isnan(scores))
    order = known[np.lexsort((passage_ids[known], -scores[known]))]
    parts = np.zeros_like(scores)
    parts[order] = 1 / (constant + np.arange(1, len(order) + 1))
    return parts
