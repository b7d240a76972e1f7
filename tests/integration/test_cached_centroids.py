"""Searches that know the centroids of passages from earlier searches: the same hits, one round trip less, nothing stale."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

import pgretrieval
from tests.support.sql import vector_array
from tests.support.vectors import clustered, passages

SOME = {"candidates": 60, "pruning": 20, "k": 10}


@pytest.fixture
def docs(database: pgretrieval.RetrievalDatabase) -> Iterator[pgretrieval.Collection]:
    collection = database.create_collection("cached", keep_vectors=True)
    collection.add(passages(300), vectors=clustered(300, directions=100, tokens=(6, 20), seed=1))
    collection.build()
    yield database.get_collection("cached")  # a handle that has not searched
    database.drop_collection("cached")


QUERIES = clustered(20, directions=100, tokens=(4, 10), seed=2)


def hits(collection: pgretrieval.Collection) -> list[list[tuple[str, float]]]:
    return [[(hit.id, round(hit.score, 5)) for hit in collection.search(vectors=query, **SOME)] for query in QUERIES]


def test_the_second_search_takes_a_round_trip_less_and_finds_the_same(docs: pgretrieval.Collection) -> None:
    first, second = (docs.explain(vectors=QUERIES[0], **SOME) for _ in range(2))
    assert (first.round_trips, second.round_trips) == (6, 4)  # one more of the first loaded the index
    assert second.bytes_moved < first.bytes_moved
    assert ([hit.id for hit in second.hits], second.candidates) == ([hit.id for hit in first.hits], first.candidates)
    assert hits(docs) == hits(docs)


def test_some_that_are_known_and_some_that_are_not(docs: pgretrieval.Collection, database: pgretrieval.RetrievalDatabase) -> None:
    """Each query finds what a handle finds that searches for the first time."""
    for query, expected in zip(QUERIES, hits(docs), strict=True):
        fresh = database.get_collection("cached")
        assert [(hit.id, round(hit.score, 5)) for hit in fresh.search(vectors=query, **SOME)] == expected


def test_changes_are_seen_at_once(docs: pgretrieval.Collection, database: pgretrieval.RetrievalDatabase) -> None:
    """Added, updated and deleted passages, and a new codebook: a handle that knows the old finds what a fresh one finds."""

    def the_same() -> bool:
        return hits(docs) == hits(database.get_collection("cached"))

    best = hits(docs)[0][0][0]
    docs.delete(ids=[best])
    assert best not in [key for key, _ in hits(docs)[0]]
    assert the_same()
    docs.add([{"id": best, "text": "again"}], vectors=[QUERIES[0]])
    assert hits(docs)[0][0][0] == best
    assert the_same()
    docs.update([{"id": best, "text": "far"}], vectors=[-QUERIES[0]])
    assert hits(docs)[0][0][0] != best
    assert the_same()
    docs.compact()
    assert the_same()
    docs.rebuild()
    assert the_same()


def test_warp_follows_every_change_of_the_postings(database: pgretrieval.RetrievalDatabase, database_url: str) -> None:
    """WARP's imputed scores come from the sizes of centroids, which a handle keeps until the postings change."""
    vectors = clustered(300, directions=100, tokens=(6, 20), seed=1)
    docs = database.create_collection("walked", scorer="xtr")
    docs.auto_compact = False
    docs.add(passages(200), vectors=vectors[:200])
    docs.build()

    def scores(handle: pgretrieval.Collection) -> list[tuple[str, float]]:
        found = handle.search(vectors=QUERIES[0], k=30, k_tokens=40, probes=8, imputation="warp")
        return sorted((hit.id, round(hit.score, 5)) for hit in found)

    def round_trips() -> int:
        return docs.explain(vectors=QUERIES[0], k_tokens=40, probes=8, imputation="warp").round_trips

    def compact() -> None:
        while True:
            with psycopg.connect(database_url) as connection:
                ((more,),) = connection.execute("select pgretrieval.compact('walked')").fetchall()
            unchanged_or_fresh()
            if not more:
                return

    def unchanged_or_fresh() -> None:
        assert scores(docs) == scores(database.get_collection("walked"))
        seen.append(round_trips())

    seen: list[int] = []
    before = scores(docs)
    docs.delete(ids=[f"p{number}" for number in range(5, 150)])
    unchanged_or_fresh()
    docs.compact()  # drops tokens though no add left a segment, and no search sees a step of it
    unchanged_or_fresh()
    assert scores(docs) != before
    docs.add(passages(100, start=200), vectors=vectors[200:])
    unchanged_or_fresh()
    with psycopg.connect(database_url) as connection:
        connection.execute("select pgretrieval.add_passage('walked', 'one', 'text', %s::vector[])", [vector_array(QUERIES[0])])
    unchanged_or_fresh()
    compact()
    docs.delete(ids=["one"])
    compact()
    unchanged_or_fresh()
    assert set(seen) == {min(seen)}  # sizes are read once for each change
    database.drop_collection("walked")
