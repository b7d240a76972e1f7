"""Collections of every kind that scores retrieved tokens."""

from __future__ import annotations

from typing import Any

import numpy as np

import pgretrieval
from tests.fixtures.collections import Corpus
from tests.support.vectors import Float32Array

KINDS: dict[str, dict[str, Any]] = {
    "xtr": {"scorer": "xtr"},
    "colxtr": {"scorer": "colxtr", "bits": 2},
    "reranked": {"scorer": "xtr", "rerank": "maxsim"},
    "long": {"scorer": "colxtr", "unit_vectors": False},
}
"""Name -> settings of the collection."""

EVERYTHING = {"probes": 10**6, "k_tokens": 10**6}


def lengthened(vectors: list[Float32Array], seed: int = 0) -> list[Float32Array]:
    """The same directions with lengths between 0.5 and 4."""
    rng = np.random.default_rng(seed)
    return [rows * rng.uniform(0.5, 4, size=(len(rows), 1)).astype(np.float32) for rows in vectors]


def fill(database: pgretrieval.RetrievalDatabase, corpus: Corpus) -> dict[str, pgretrieval.Collection]:
    """A collection of each kind, in two segments, with some passages deleted."""
    made = {}
    for name, options in KINDS.items():
        collection = database.create_collection(name, **options)
        vectors = lengthened(corpus.vectors) if name == "long" else corpus.vectors
        collection.auto_compact = False
        collection.add(corpus.passages[:200], vectors=vectors[:200])
        collection.build()
        collection.add(corpus.passages[200:], vectors=vectors[200:])
        collection.delete([f"p{number}" for number in range(50, 60)])
        made[name] = collection
    return made
