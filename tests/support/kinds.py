"""Collections of every kind, and the hits of every kind of search in them, to compare two databases."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import psycopg
import pytest

import pgretrieval
from pgretrieval.types import Hit
from tests.fixtures.collections import Corpus
from tests.support.cross_encoder import TableCrossEncoder, queries
from tests.support.vectors import passages, unit

COLLECTIONS: dict[str, dict[str, Any]] = {
    "docs": {},
    "kept": {"keep_vectors": True, "dense": "kept", "bits": 2},
    "proxies": {"generator": "proxy"},
    "tokens": {"scorer": "xtr"},
    "reranked": {"scorer": "colxtr", "rerank": "maxsim", "unit_vectors": False},
    "waiting": {},
}


def fill(database: pgretrieval.RetrievalDatabase, corpus: Corpus, buckets: int | None = None) -> int:
    """Collections of every kind, with segments, changed and deleted passages; returns the number of passages stored."""
    stored = 0
    for name, options in COLLECTIONS.items():
        docs = database.create_collection(name, **options, buckets=buckets)
        docs.auto_compact = False

        def part(start: int, end: int, keeps_dense: bool = "dense" in options) -> dict[str, Any]:
            rows = corpus.vectors[start:end]
            return {"vectors": rows, "dense": [unit(vectors[:1])[0] for vectors in rows]} if keeps_dense else {"vectors": rows}

        docs.add(corpus.passages[:200], **part(0, 200))
        if name != "waiting":
            docs.build()
        docs.add(corpus.passages[200:], **part(200, 300))
        docs.update(passages(10), **part(100, 110))
        docs.delete([f"p{number}" for number in range(20, 40)])
        if name == "waiting":
            docs.factorize(TableCrossEncoder(), queries(range(30)), 20)
        stored += 310
    return stored


def answers(url: str, corpus: Corpus) -> dict[str, list[Hit]]:
    """Hits and scores of every kind of search and collection."""
    found: dict[str, list[Hit]] = {}
    with pgretrieval.connect(url=url) as database:
        for name in COLLECTIONS:
            docs = database.get_collection(name)
            found[f"{name}, words"] = docs.text_search("passage 7")
            for number, hits in enumerate(docs.search_many(vectors=corpus.queries)):
                found[f"{name}, search {number}"] = hits
            found[f"{name}, all"] = docs.search(vectors=corpus.queries[0], k=300)
            found[f"{name}, filter"] = docs.search(vectors=corpus.queries[1], where={"number": {"$lt": 50}})
            if name == "waiting":
                docs.use_cross_encoder(TableCrossEncoder())
                found["cross-encoder"] = docs.search("query 40", scorer="cross_encoder", budget=60)
            found[f"{name}, hybrid"] = docs.hybrid_search("passage 7", vectors=corpus.queries[0])
    return found


def same(ours: dict[str, list[Hit]], theirs: dict[str, list[Hit]]) -> None:
    """Compare hits and scores; summation order changes last bits and may swap near ties."""
    assert ours.keys() == theirs.keys()
    for name, hits in ours.items():
        by_id = {hit.id: hit for hit in theirs[name]}
        assert {hit.id for hit in hits} == by_id.keys(), name
        for hit in hits:
            there = by_id[hit.id]
            assert hit == replace(there, rank=hit.rank, score=hit.score), name
            assert hit.score == pytest.approx(there.score, rel=1e-5, abs=1e-5), (name, hit.id)
        assert [hit.score for hit in theirs[name]] == sorted((hit.score for hit in theirs[name]), reverse=True)


def analyze(url: str) -> None:
    """ANALYZE, as the manual recommends after a restore; BM25 uses the planner's number of passages."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("analyze")
