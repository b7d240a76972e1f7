"""Last stages: centroid interaction on codes alone, and exact MaxSim of decoded vectors."""

from __future__ import annotations

import numpy as np
import torch

from pgretrieval.db.candidates import CodedPassages
from pgretrieval.quantize.codebook import Codebook
from pgretrieval.scoring.maxsim import segment_max
from pgretrieval.types import Float32Array, Int64Array

_TOKENS_AT_ONCE = 8192  # decoded vectors stay in the processor's cache


def centroid_interaction(scores: Float32Array, coded: CodedPassages) -> Float32Array:
    """MaxSim with every token replaced by its centroid (PLAID, section 4.2).

    `scores` is (query tokens, centroids); the result is (passages,).
    """
    best = segment_max(scores.take(coded.centroid_ids, axis=1), coded.offsets)
    scores_by_passage: Float32Array = np.add.reduce(best, axis=0)
    return scores_by_passage


def decoded_maxsim(query: Float32Array, codebook: Codebook, coded: CodedPassages) -> Float32Array:
    """Exact MaxSim of (query tokens, dim) with the decoded, re-normalised vectors of each passage -> (passages,)."""
    if not coded.passage_ids:
        return np.empty(0, dtype=np.float32)
    similarity = np.empty((len(query), len(coded.centroid_ids)), dtype=np.float32)
    rows = torch.from_numpy(query)
    for start in range(0, len(coded.centroid_ids), _TOKENS_AT_ONCE):
        part = slice(start, start + _TOKENS_AT_ONCE)
        vectors = codebook.decode(coded.centroid_ids[part], coded.residuals[part])
        norms = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))
        similarity[:, part] = (rows @ torch.from_numpy(vectors).T).numpy() / norms
    exact: Float32Array = np.add.reduce(segment_max(similarity, coded.offsets), axis=0)
    return exact


def best_first(scores: Float32Array, tie_breakers: list[int], k: int) -> Int64Array:
    """Positions of the k highest scores, best first; equal scores in order of the tie breakers."""
    return np.lexsort((np.asarray(tie_breakers), -scores))[:k].astype(np.int64)
