"""Factorisation of a few scores for each anchor query (AXN), and searches by it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import pgretrieval
from pgretrieval.errors import ConfigError
from tests.support.cross_encoder import TableCrossEncoder, queries
from tests.support.encoder import HashedEncoder

TRAIN = queries(range(60))
PASSAGES = [{"id": f"p{number}", "text": f"passage {number}"} for number in range(300)]


def retriever() -> np.ndarray:
    """One token for each passage: the directions of the table's scores, disturbed."""
    rng = np.random.default_rng(0)
    rng.standard_normal((80, 12))
    true = rng.standard_normal((12, 400)).T[:300]
    padded = np.hstack([true, np.zeros((300, 36))])
    padded += 0.2 * rng.standard_normal(padded.shape)
    return (padded / np.linalg.norm(padded, axis=1, keepdims=True)).astype(np.float32)[:, None, :]


@pytest.fixture
def docs(database: pgretrieval.RetrievalDatabase) -> pgretrieval.Collection:
    collection = database.create_collection("docs")
    collection.add(PASSAGES[:280], vectors=list(retriever()[:280]))
    return collection


def best(hits: Any) -> list[int]:
    return [int(hit.id[1:]) for hit in hits]


def test_an_index_costs_per_query_calls_and_finds_the_best(docs: pgretrieval.Collection, connection: Any) -> None:
    """60 queries x 50 passages are 3,000 calls, where all pairs are 16,800; hits have exact scores."""
    model = TableCrossEncoder()
    report = docs.factorize(model, TRAIN, per_query=50, selection="random")
    assert (report.calls, report.embedded, report.anchor_items) == (3000, 280, 49)
    assert len(set(model.asked)) == 3000
    assert docs.stats()["factorization"] | {"per_query": 50, "anchor_items": 0, "not_scored": 0} == docs.stats()["factorization"]
    assert docs.check() == []
    shares, popular = [], np.argsort(-model.table[:60, :280].mean(axis=0))[:60]
    for number in range(60, 80):
        explained = docs.explain(f"query {number}", 10, scorer="cross_encoder", budget=60)
        assert explained.cross_encoder_calls == 60
        found = best(explained.hits)
        assert [hit.score for hit in explained.hits] == pytest.approx(model.table[number, found].tolist(), abs=1e-5)
        exact = model.best(number, 10, range(280))
        shares.append((np.isin(exact, found).mean(), np.isin(exact, popular).mean()))
    rounds, rerank = np.mean(shares, axis=0)
    assert rounds > 0.8
    assert rounds > rerank + 0.2
    refused = "select count(*) from pgretrieval.candidates_by_anchors('docs', '{1}'::real[], 5)"
    with pytest.raises(Exception, match="has no anchor items"):
        connection.execute(refused)


def test_new_passages_and_a_repetition_score_only_what_is_missing(docs: pgretrieval.Collection) -> None:
    """A passage that no query chose is embedded by its own vector."""
    model = TableCrossEncoder()
    docs.factorize(model, TRAIN, per_query=5, selection="random")
    assert docs.factorize(model, TRAIN, per_query=5, selection="random").calls == 0
    docs.add(PASSAGES[280:], vectors=list(retriever()[280:]))
    report = docs.factorize(model, TRAIN, per_query=5, selection="random")
    assert (report.embedded, report.solved) == (20, False)
    assert 0 < report.calls < 60
    assert len(set(model.asked)) == len(model.asked)
    docs.delete(["p3"])
    assert docs.check() == []
    docs.factorize(model, TRAIN, per_query=5, selection="random")
    assert len(best(docs.search("query 70", 299, scorer="cross_encoder", budget=299))) == 299


def test_pairs_are_the_hits_of_the_collections_search(database: pgretrieval.RetrievalDatabase) -> None:
    collection = database.create_collection("docs", encoder=HashedEncoder())
    collection.add(PASSAGES[:60])
    model = TableCrossEncoder()
    texts = [f"passage {number}" for number in range(20)]
    collection.factorize(model, texts, per_query=7)
    expected = {(text, f"passage {number}") for text in texts for number in best(collection.search(text, 7))}
    assert set(model.asked) == expected
    assert collection.stats()["factorization"]["selection"] == "search"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"per_query": 0}, "per_query is 0"),
        ({"per_query": 5, "selection": "greedy"}, "selection is 'greedy'; choose search or random"),
        ({"selection": "search"}, "selection is 'search'"),
        ({"per_query": 5, "split": "all"}, "have no effect with per_query"),
        ({"per_query": 5, "anchor_items": 50}, "have no effect with per_query"),
    ],
)
def test_options_without_effect_are_refused(docs: pgretrieval.Collection, options: dict[str, Any], message: str) -> None:
    model = TableCrossEncoder()
    with pytest.raises(ConfigError, match=message):
        docs.factorize(model, TRAIN, **options)
    assert not model.asked


def test_a_collection_without_vectors_is_refused(database: pgretrieval.RetrievalDatabase) -> None:
    collection = database.create_collection("docs", encoder="none")
    collection.add(PASSAGES[:40])
    with pytest.raises(ConfigError, match="per_query needs passages with vectors"):
        collection.factorize(TableCrossEncoder(), TRAIN, per_query=5, selection="random")
