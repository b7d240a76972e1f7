"""Collections scored by retrieved tokens, compared with a plain implementation of the papers over the decoded vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
import psycopg
import pytest

import pgretrieval
from pgretrieval.db.handles import IndexTables
from pgretrieval.db.tables import codebooks
from pgretrieval.index.coding import codebook_from_row
from tests.fixtures.collections import Corpus
from tests.support.tokens import EVERYTHING, KINDS, fill

Token = tuple[int, int, int]
"""Centroid, passage, and position in the passage."""


class Tokens:
    """All tokens of a collection, read from its tables without search code."""

    def __init__(self, url: str, name: str) -> None:
        with psycopg.connect(url) as connection:
            collection_id, codebook_id, unit = connection.execute(
                "select collection_id, codebook_id, unit_vectors from pgretrieval.collection where name = %s", [name]
            ).fetchone()
            codebook = codebook_from_row(codebooks.load(IndexTables(connection, collection_id, codebook_id)))
            rows = connection.execute(
                "select centroid_id, passage_ids, positions, residuals from pgretrieval.posting_code "
                "where collection_id = %s and codebook_id = %s",
                [collection_id, codebook_id],
            ).fetchall()
            self.keys = dict(
                connection.execute("select passage_id, key from pgretrieval.passage where collection_id = %s", [collection_id])
            )
        self.centroids = codebook.centroids.astype(np.float64)
        self.sizes = np.zeros(len(self.centroids), dtype=np.int64)
        self.all: list[Token] = []
        decoded = []
        for centroid_id, passage_ids, positions, residuals in rows:
            packed = np.frombuffer(residuals, dtype=np.uint8).reshape(len(passage_ids), -1).copy()
            self.sizes[centroid_id] += len(passage_ids)
            vectors = codebook.decode(np.full(len(packed), centroid_id, dtype=np.int32), packed).astype(np.float64)
            for passage_id, position, vector in zip(passage_ids, positions, vectors, strict=True):
                if passage_id in self.keys:
                    decoded.append(vector / np.linalg.norm(vector) if unit else vector)
                    self.all.append((centroid_id, passage_id, position))
        self.vectors = np.stack(decoded)


def oracle(
    tokens: Tokens,
    query: np.ndarray,
    *,
    probes: int = 10**6,
    k_tokens: int = 10**6,
    imputation: Any = "kth",
    reduction: str = "mean",
    among: set[str] | None = None,
) -> dict[str, float]:
    """XTR, equation 5, by plain loops: id -> score of every passage that has a retrieved token."""
    scores = query @ tokens.centroids.astype(np.float32).T
    probed = [set(row) for row in np.argsort(-scores, axis=1)[:, :probes].tolist()]
    query = query.astype(np.float64)
    union = set().union(*probed)
    best: list[dict[str, float]] = []
    missed: list[float] = []
    for row in query:
        similarities = (tokens.vectors @ row).tolist()
        scored = [
            (similarity, passage_id)
            for similarity, (centroid_id, passage_id, _) in zip(similarities, tokens.all, strict=True)
            if centroid_id in union and (among is None or tokens.keys[passage_id] in among)
        ]
        retrieved = sorted(scored, key=lambda pair: (-pair[0], pair[1]))[:k_tokens]
        of_passage: dict[str, float] = {}
        for score, passage_id in retrieved:
            key = tokens.keys[passage_id]
            of_passage[key] = max(score, of_passage.get(key, -np.inf))
        best.append(of_passage)
        if imputation == "kth":
            missed.append(retrieved[-1][0] if retrieved else 0.0)
        elif imputation == "warp":
            walked, passed = 0, 0.0
            similarity = tokens.centroids @ row
            listed = [centroid for centroid in np.argsort(-similarity, kind="stable") if tokens.sizes[centroid]]
            for centroid in listed:
                walked, passed = walked + tokens.sizes[centroid], float(similarity[centroid])
                if walked > np.sqrt(8 * tokens.sizes.sum()):
                    break
            missed.append(passed)
        else:
            missed.append(0.0 if imputation == "zero" else imputation)
    found = set().union(*best)
    scores = {key: sum(of.get(key, miss) for of, miss in zip(best, missed, strict=True)) for key in found}
    return {key: score / (len(query) if reduction == "mean" else 1) for key, score in scores.items()}


def assert_equals(hits: list[pgretrieval.Hit], scores: dict[str, float], k: int = 10) -> None:
    """Assert the best passages and scores of the reference."""
    assert [hit.rank for hit in hits] == list(range(1, min(k, len(scores)) + 1))
    assert [hit.score for hit in hits] == pytest.approx([scores[hit.id] for hit in hits], abs=1e-5, rel=1e-5)
    assert [hit.score for hit in hits] == pytest.approx(sorted(scores.values(), reverse=True)[:k], abs=1e-5, rel=1e-5)


@pytest.fixture(scope="module")
def collections(module_database: pgretrieval.RetrievalDatabase, corpus: Corpus) -> dict[str, pgretrieval.Collection]:
    """Collections that tests do not change."""
    return fill(module_database, corpus)


@pytest.fixture(scope="module")
def stored(module_database: pgretrieval.RetrievalDatabase, collections: dict[str, pgretrieval.Collection]) -> dict[str, Tokens]:
    """Tokens of each collection as stored."""
    return {name: Tokens(module_database.url, name) for name in collections}


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("imputation", ["kth", "warp", "zero", 0.3])
@pytest.mark.parametrize("name", KINDS)
def test_with_everything_retrieved_scores_are_those_of_the_papers(
    collections: dict[str, pgretrieval.Collection],
    stored: dict[str, Tokens],
    corpus: Corpus,
    name: str,
    imputation: Any,
    reduction: str,
):
    """With all tokens retrieved, scores equal the papers'."""
    for query in corpus.queries[:2]:
        hits = collections[name].search(vectors=query, imputation=imputation, reduction=reduction, rerank="none", **EVERYTHING)
        assert_equals(hits, oracle(stored[name], query, imputation=imputation, reduction=reduction))


@pytest.mark.parametrize("limits", [{"probes": 2}, {"probes": 5, "k_tokens": 20}, {"k_tokens": 7}, {"probes": 1, "k_tokens": 30}])
@pytest.mark.parametrize("imputation", ["kth", "warp", "zero", -0.2])
@pytest.mark.parametrize("name", KINDS)
def test_with_limits_scores_are_those_of_the_papers(
    collections: dict[str, pgretrieval.Collection],
    stored: dict[str, Tokens],
    corpus: Corpus,
    name: str,
    imputation: Any,
    limits: dict[str, int],
):
    """With limits, query tokens see tokens of all probed centroids, and imputation uses the last retrieved score."""
    for query in corpus.queries[:2]:
        given = {"probes": 10**6, **limits}
        hits = collections[name].search(vectors=query, imputation=imputation, reduction="sum", rerank="none", **given)
        given.setdefault("k_tokens", 300)
        assert_equals(hits, oracle(stored[name], query, imputation=imputation, reduction="sum", **given))
