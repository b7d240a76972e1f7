"""`explain` with a mode: each is a search of its own, with its stages, and a cross-encoder can rerank it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import pgretrieval
from pgretrieval.errors import ConfigError, InputError
from tests.support.encoder import HashedEncoder
from tests.support.vectors import clustered

TEXTS = ["quick brown fox", "lazy dog sleeps", "quick dog runs", "sun and moon", "a mountain river"]
QUERY = "quick dog"


class DenseEncoder(HashedEncoder):
    """Hashed words, and their mean as dense vector."""

    def encode_query_with_dense(self, texts: list[str]) -> tuple[list[Any], Any]:
        tokens = self.encode_query(texts)
        return tokens, np.stack([each.mean(axis=0) for each in tokens])

    encode_document_with_dense = encode_query_with_dense


class Longest:
    """Scores a passage by its length."""

    def predict(self, pairs: list[tuple[str, str]]) -> list[float]:
        return [float(len(text)) for _, text in pairs]


@pytest.fixture
def docs(database: pgretrieval.RetrievalDatabase) -> pgretrieval.Collection:
    collection = database.create_collection("docs", encoder=DenseEncoder(), dense="kept")
    collection.add([{"id": str(number), "text": text, "metadata": {"n": number}} for number, text in enumerate(TEXTS)])
    return collection


SEARCHES = {"late": "search", "words": "text_search", "dense": "dense_search", "hybrid": "hybrid_search"}


@pytest.mark.parametrize("mode", SEARCHES)
def test_a_mode_is_a_search(docs: pgretrieval.Collection, mode: Any):
    """Hits are those of the mode's search, with the same options, and every stage is timed."""
    search = getattr(docs, SEARCHES[mode])
    for options in ({}, {"where": {"n": {"$lt": 2}}}, {"among": ["0", "4"], "matches": True}, {"min_score": 0.1}):
        found = docs.explain(QUERY, 3, mode=mode, **options)
        assert found.hits == search(QUERY, 3, **options)
        assert all(spent > 0 for spent in found.milliseconds.values())
    assert {"late": "encode", "words": "words", "dense": "dense", "hybrid": "encode"}[mode] in found.milliseconds


@pytest.mark.parametrize("mode", SEARCHES)
def test_a_cross_encoder_reranks_every_mode(docs: pgretrieval.Collection, mode: Any):
    """The best of `rerank_depth` hits are scored; `min_score` and `matches` are of its scores."""
    found = docs.explain(QUERY, 2, mode=mode, rerank=Longest(), rerank_depth=2, matches=True, min_score=15)
    first = docs.explain(QUERY, 2, mode=mode)
    lengths = {str(number): float(len(text)) for number, text in enumerate(TEXTS)}
    expected = sorted(((lengths[hit.id], hit.id) for hit in first.hits), reverse=True)
    assert [(hit.score, hit.id) for hit in found.hits] == [each for each in expected if each[0] >= 15]
    assert found.cross_encoder_calls == len(first.hits)
    assert all(hit.components == {"cross_encoder": hit.score} for hit in found.hits)


@pytest.mark.parametrize("mode", ["words", "dense", "hybrid"])
def test_options_of_late_interaction_are_refused(docs: pgretrieval.Collection, mode: Any):
    for options in ({"probes": 3}, {"generator": "postings"}, {"candidates": 10}, {"scorer": "cross_encoder"}):
        with pytest.raises(ConfigError, match=rf'{next(iter(options))} is .*mode "{mode}" does not use; leave it out'):
            docs.explain(QUERY, mode=mode, **options)
    with pytest.raises(ConfigError, match="has no option 'prob'"):
        docs.explain(QUERY, mode=mode, prob=1)  # type: ignore[call-arg]


def test_vectors_belong_to_late_interaction(docs: pgretrieval.Collection):
    """A hybrid search takes token vectors besides the text; words and dense vectors do not."""
    vectors = docs.encoder.encode_query(QUERY)[0]
    assert docs.explain(QUERY, mode="hybrid", vectors=vectors).hits == docs.hybrid_search(QUERY, vectors=vectors)
    for mode in ("words", "dense"):
        with pytest.raises(ConfigError, match="vectors is"):
            docs.explain(QUERY, mode=mode, vectors=vectors)
    with pytest.raises(InputError, match="the query is None"):
        docs.explain(mode="hybrid", vectors=vectors)


def test_a_mode_that_there_is_not(docs: pgretrieval.Collection, database: pgretrieval.RetrievalDatabase):
    with pytest.raises(ConfigError, match="mode is 'fuzzy'; choose hybrid, late, words or dense"):
        docs.explain(QUERY, mode="fuzzy")  # type: ignore[arg-type]
    plain = database.create_collection("plain", dim=64, language=None)
    plain.add([{"id": "a", "text": "a"}], vectors=clustered(1, seed=1))
    with pytest.raises(ConfigError, match="language"):
        plain.explain(QUERY, mode="words")
    with pytest.raises(ConfigError, match="dense"):
        plain.explain(QUERY, mode="dense")
