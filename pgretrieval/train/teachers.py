"""Late-interaction model as teacher, such as an unpooled model for a pooled one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pgretrieval.encode import load_encoder
from pgretrieval.numerics.maxsim import maxsim
from pgretrieval.rerank.scorer import Pair
from pgretrieval.types import Float32Array


class LateInteractionTeacher:
    """Scorer of pairs of query and passage text by exact MaxSim of an encoder's token vectors, for `mine(teacher=…)`.

    `encoder` is any encoder of a collection. Scores are sums over the query's tokens, as in objective `colbert`.
    """

    def __init__(self, encoder: Any, device: str | None = None) -> None:
        self._encoder = load_encoder(encoder, device)

    @property
    def fingerprint(self) -> str:
        """Identification of the encoder."""
        return f"late interaction {self._encoder.spec}"

    def predict(self, pairs: Sequence[Pair]) -> Float32Array:
        """Return scores (pairs,). Each text is encoded once."""
        scores = np.empty(len(pairs), dtype=np.float32)
        if not pairs:
            return scores
        queries, passages = (list(dict.fromkeys(texts)) for texts in zip(*pairs, strict=True))
        query_vectors = dict(zip(queries, self._encoder.encode_query(queries), strict=True))
        arrays = dict(zip(passages, self._encoder.encode_document(passages), strict=True))
        places: dict[str, list[int]] = {query: [] for query in queries}
        for place, (query, _) in enumerate(pairs):
            places[query].append(place)
        for query, some in places.items():
            own = [arrays[pairs[place][1]] for place in some]
            offsets = np.concatenate([[0], np.cumsum([len(array) for array in own])]).astype(np.int64)
            scores[some] = maxsim(query_vectors[query], np.concatenate(own), offsets)
        return scores
