"""A deterministic encoder without a model: word vectors from hashes."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from functools import cache

import numpy as np

from pgretrieval.types import Float32Array


class HashedEncoder:
    """One unit vector per word; different words are nearly orthogonal. Counts the texts it encoded."""

    def __init__(self, dim: int = 64) -> None:
        self.width = dim
        self.encoded = 0

    def encode_query(self, texts: Sequence[str]) -> list[Float32Array]:
        return [self._encode(text) for text in texts]

    def encode_document(self, texts: Sequence[str]) -> list[Float32Array]:
        self.encoded += len(texts)
        return [self._encode(text) for text in texts]

    def _encode(self, text: str) -> Float32Array:
        rows = np.stack([_direction(word, self.width) for word in text.lower().split()])
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@cache
def _direction(word: str, dim: int) -> Float32Array:
    return np.random.default_rng(zlib.crc32(word.encode())).standard_normal(dim).astype(np.float32)
