"""Searches of a distributed collection find what those of one server find, with the same scores."""

from __future__ import annotations

from typing import Any

import pytest

import pgretrieval
from tests.citus.conftest import Pair
from tests.fixtures.collections import Corpus


def found(collection: pgretrieval.Collection, corpus: Corpus, **options: Any) -> list[list[tuple[str, float]]]:
    """Ids and scores of each query's hits."""
    return [[(hit.id, hit.score) for hit in hits] for hits in collection.search_many(vectors=corpus.queries, **options)]


@pytest.mark.parametrize(
    "options",
    [
        {"k": 10},
        {"k": 300},
        {"k": 10, "where": {"number": {"$lt": 50}}},
        {"k": 10, "among": [f"p{number}" for number in range(0, 300, 7)]},
        {"k": 10, "probes": 2, "candidates": 50},
    ],
    ids=["ten", "all", "filter", "ids", "few"],
)
def test_hits_and_scores_equal_those_of_one_server(pair: Pair, corpus: Corpus, options: dict[str, Any]):
    """To the last digit."""
    many, one = (found(collection, corpus, **options) for collection in pair)
    assert many == one


def test_searches_by_words(pair: Pair):
    """BM25, in a collection whose words are counted on several shards."""
    many, one = ([(hit.id, hit.score) for hit in docs.text_search("passage 7 title", k=20)] for docs in pair)
    assert many == one


def test_texts_and_metadata(pair: Pair, corpus: Corpus):
    """Hits and passages have all their fields."""
    many, one = (docs.search(vectors=corpus.queries[0]) for docs in pair)
    assert many == one
    ids = [f"p{number}" for number in (3, 250, 7)]
    assert pair.many.get([*ids, "no such"]) == pair.one.get(ids)
    assert pair.many.get(where={"number": {"$gte": 295}}) == pair.one.get(where={"number": {"$gte": 295}})
