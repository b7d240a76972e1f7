"""Collections that keep their vectors: codes choose which few are read, and these rank and score the hits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import pgretrieval
from pgretrieval.search.scanner import vectors_to_read
from tests.support.tokens import lengthened
from tests.support.vectors import clustered, maxsim, passages, unit

COUNT = 400
VECTORS = clustered(COUNT, directions=60, tokens=(6, 20), seed=4)
HALVED = [rows.astype(np.float16).astype(np.float32) for rows in VECTORS]
QUERIES = clustered(12, directions=60, tokens=(4, 10), seed=5)
ALL = {"candidates": COUNT, "pruning": COUNT}


@pytest.fixture(scope="module")
def docs(module_database: pgretrieval.RetrievalDatabase) -> Iterator[pgretrieval.Collection]:
    """A collection of codes so coarse that they alone rank wrongly."""
    collection = module_database.create_collection("kept", keep_vectors=True, bits=2, dense="kept")
    dense = unit(np.stack([rows.mean(axis=0) for rows in VECTORS]))
    collection.add(passages(COUNT), vectors=VECTORS, dense=dense)
    collection.build()
    yield collection
    module_database.drop_collection("kept")


def best(query: Any, k: int, numbers: range | list[int] = range(COUNT)) -> list[tuple[str, float]]:
    """The k best by the vectors as they are stored."""
    scores = {f"p{number}": maxsim(query, HALVED[number]) for number in numbers}
    return sorted(scores.items(), key=lambda item: -item[1])[:k]


@pytest.mark.parametrize("k", [1, 10, 100])
def test_hits_have_the_scores_and_nearly_the_order_of_kept_vectors(docs: pgretrieval.Collection, k: int) -> None:
    """One by one, together and among others: the best by stored vectors, which codes of two bits do not find."""
    third, half = list(range(0, COUNT, 3)), range(COUNT // 2)
    among = {"among": [f"p{number}" for number in third]}
    for numbers, knobs in ((range(COUNT), ALL), (third, ALL | among), (half, ALL | {"where": {"number": {"$lt": COUNT // 2}}})):
        found = docs.search_many(vectors=QUERIES, k=k, **knobs)
        assert found == [docs.search(vectors=query, k=k, **knobs) for query in QUERIES]
        shares = []
        for query, hits in zip(QUERIES, found, strict=True):
            expected = dict(best(query, COUNT, numbers))
            assert [hit.score for hit in hits] == pytest.approx([expected[hit.id] for hit in hits], abs=1e-4)
            assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
            shares.append(len({hit.id for hit in hits} & {key for key, _ in best(query, k, numbers)}) / len(hits))
        assert np.mean(shares) >= 0.99


@pytest.mark.parametrize("k", [10, 100])
def test_the_vectors_of_few_are_read(docs: pgretrieval.Collection, k: int) -> None:
    """All pruned candidates are scored by codes, and the vectors of some more than k are read."""
    _, explained = (docs.explain(vectors=QUERIES[0], k=k, **ALL) for _ in range(2))  # the second knows the centroids
    assert explained.passages_decoded == explained.candidates > 300
    codes = 4 * explained.postings_read + explained.tokens_decoded * (64 // 4 + 2)
    read = (explained.bytes_moved - codes) / (2 * 64 * np.mean([len(rows) for rows in VECTORS]))
    assert read == pytest.approx(vectors_to_read(k, 2), rel=0.3)  # the best are longer than others
    assert explained.milliseconds["vectors"] > 0


def test_coarse_codes_and_many_hits_need_more() -> None:
    """A few more than k, in proportion to k beyond some; four and sixteen times as many more with two bits and one."""
    assert [vectors_to_read(10, bits) for bits in (4, 2, 1)] == [20, 50, 170]
    assert [vectors_to_read(k, 4) for k in (1, 100, 2**31 - 1)] == [11, 130, 2**31 - 1]


def test_a_hybrid_search_weighs_exact_scores(docs: pgretrieval.Collection) -> None:
    """With late interaction alone it has the order of exact scores; with all parts, the hits of exact scores of all candidates."""
    dense = unit(np.stack([rows.mean(axis=0) for rows in QUERIES]))
    for query, row in zip(QUERIES, dense, strict=True):
        alone = docs.hybrid_search("passage", vectors=query, dense=row, weights=(1, 0, 0))
        exact = dict(best(query, COUNT))
        scores = [exact[hit.id] for hit in alone]
        assert scores == sorted(scores, reverse=True)
        ranked = docs.hybrid_search("passage", vectors=query, dense=row, weights=(1, 0, 0), fusion="rank")
        assert [hit.id for hit in ranked] == [hit.id for hit in alone]
        assert len(docs.hybrid_search("passage", vectors=query, dense=row, k=50)) == 50


@pytest.mark.parametrize("scorer", ["xtr", "colxtr"])
def test_reranking_of_vectors_with_their_lengths(database: pgretrieval.RetrievalDatabase, scorer: str) -> None:
    """Reranked passages have exact scores of vectors that are not of unit length, by the reduction of the scorer."""
    docs = database.create_collection("long", scorer=scorer, rerank="maxsim", unit_vectors=False, bits=1, keep_vectors=True)
    longer = lengthened(VECTORS)
    docs.add(passages(COUNT), vectors=longer)
    docs.build()
    for query in QUERIES:
        hits = docs.search(vectors=query, k=5)
        scale = len(query) if scorer == "xtr" else 1
        exact = [maxsim(query, longer[int(hit.id[1:])]) / scale for hit in hits]
        assert [hit.score for hit in hits] == pytest.approx(exact, rel=1e-3)
        assert exact == pytest.approx(sorted(exact, reverse=True), rel=1e-3)


def test_before_the_build_all_vectors_are_compared(database: pgretrieval.RetrievalDatabase) -> None:
    docs = database.create_collection("unbuilt", keep_vectors=True)
    docs.add(passages(COUNT), vectors=VECTORS)
    for query in QUERIES[:3]:
        hits = docs.search(vectors=query, k=20)
        assert [hit.id for hit in hits] == [key for key, _ in best(query, 20)]
    docs.build()
    hits = docs.search(vectors=QUERIES[0], k=5)
    assert [hit.score for hit in hits] == pytest.approx([score for _, score in best(QUERIES[0], 5)], abs=1e-4)
