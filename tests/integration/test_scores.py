"""Scores that can be used: the mean over query tokens, and hits from a least score on."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import psycopg
import pytest

import pgretrieval
from pgretrieval import Collection, ConfigError, Hit
from pgretrieval.index.opened import OpenCollection
from tests.support.cross_encoder import TableCrossEncoder
from tests.support.encoder import HashedEncoder
from tests.support.proxies import quick_proxies
from tests.support.vectors import clustered, passages

COUNT = 300
ENCODER = HashedEncoder()
TEXTS = [passage | {"text": f"text {number % 7} of {number}"} for number, passage in enumerate(passages(COUNT))]
VECTORS = clustered(COUNT, directions=60, tokens=(6, 20), seed=4)
QUERIES = clustered(4, directions=60, tokens=(4, 10), seed=5)
GENERATORS = ("postings", "proxy", "lower_bound", "centroid_pruning", "text")
FILTERS: list[dict[str, Any]] = [{}, {"where": {"number": {"$lt": 100}}}, {"among": [f"p{number}" for number in range(40)]}]


@pytest.fixture(scope="module")
def collections(module_database: pgretrieval.RetrievalDatabase) -> dict[str, Collection]:
    """Collections scored by codes, by kept vectors and by retrieved tokens, and one that is not built."""
    made = {
        "codes": module_database.create_collection("codes", generator="proxy", encoder=ENCODER),
        "kept": module_database.create_collection("kept", keep_vectors=True, bits=2, encoder=ENCODER),
        "unbuilt": module_database.create_collection("unbuilt", encoder=ENCODER),
        "colxtr": module_database.create_collection("colxtr", scorer="colxtr", rerank="maxsim", encoder=ENCODER),
    }
    for name, docs in made.items():
        docs.add(TEXTS, vectors=VECTORS)
        if name != "unbuilt":
            with quick_proxies():
                docs.build()
    return made


def mean_of(hits: list[Hit], tokens: int) -> list[tuple[str, float]]:
    """Hits of sums, with means as single precision divides them."""
    return [(hit.id, float(np.float32(hit.score) / np.float32(tokens))) for hit in hits]


@pytest.mark.parametrize("restricted", FILTERS, ids=["all", "where", "among"])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        *[("codes", {"generator": generator}) for generator in GENERATORS],
        ("kept", {}),
        ("unbuilt", {}),
        ("unbuilt", {"generator": "text"}),
        ("colxtr", {"rerank": "maxsim"}),
        ("colxtr", {"rerank": "none"}),
    ],
    ids=str,
)
def test_the_mean_is_the_sum_per_query_token(
    collections: dict[str, Collection], name: str, options: dict[str, Any], restricted: dict[str, Any]
):
    """The same hits in the same order, and scores between -1 and 1, by every generator."""
    docs = collections[name]
    words = "text 3" if options.get("generator") == "text" else None
    for query in QUERIES:
        summed, means = (
            docs.search(words, vectors=query, reduction=reduction, **options, **restricted) for reduction in ("sum", "mean")
        )
        assert means
        assert [(hit.id, hit.score) for hit in means] == mean_of(summed, len(query))
        assert all(-1 <= hit.score <= 1 for hit in means)
    assert summed[0].score > 1


@pytest.mark.parametrize("search", ["search", "search_many", "explain"])
def test_every_search_has_the_mean(collections: dict[str, Collection], search: str):
    """`search`, `search_many` and `explain` have the option, and the sum is the default of MaxSim."""
    docs, query = collections["codes"], "text 3 of 59"
    found = getattr(docs, search)([query] if search == "search_many" else query, 5, reduction="mean")
    hits = found[0] if search == "search_many" else getattr(found, "hits", found)
    assert [(hit.id, hit.score) for hit in hits] == mean_of(docs.search(query, 5), 4)


@pytest.mark.parametrize("options", [{"rerank": TableCrossEncoder()}, {"scorer": "cross_encoder"}], ids=["rerank", "scorer"])
@pytest.mark.parametrize("name", ["codes", "colxtr"])
def test_a_cross_encoder_has_no_reduction(collections: dict[str, Collection], name: str, options: dict[str, Any]):
    """A cross-encoder's scores are no reduction of tokens' scores."""
    with pytest.raises(ConfigError, match='reduction is "mean", but a cross-encoder gives the scores; leave it out'):
        collections[name].search("text 3", reduction="mean", **options)


Search = Callable[..., list[Hit]]
SEARCHES: dict[str, Callable[[Collection], Search]] = {
    "search": lambda docs: docs.search,
    "mean": lambda docs: lambda *given, **options: docs.search(*given, reduction="mean", **options),
    "rerank": lambda docs: lambda *given, **options: docs.search(*given, rerank=TableCrossEncoder(), **options),
    "text generator": lambda docs: lambda *given, **options: docs.search(*given, generator="text", **options),
    "search_many": lambda docs: lambda query, k, **options: docs.search_many([query], k, **options)[0],
    "explain": lambda docs: lambda *given, **options: docs.explain(*given, **options).hits,
    "hybrid": lambda docs: docs.hybrid_search,
    "hybrid by rank": lambda docs: lambda *given, **options: docs.hybrid_search(*given, fusion="rank", **options),
    "text": lambda docs: docs.text_search,
}
"""Every search of a text, by k and options."""


@pytest.mark.parametrize("name", ["codes", "kept", "unbuilt", "colxtr"])
@pytest.mark.parametrize("kind", SEARCHES)
def test_hits_below_the_least_score_are_left_out(collections: dict[str, Collection], kind: str, name: str):
    """Hits with the least score and above stay, in the same order, ranks and scores; without a warning."""
    if (name, kind) == ("colxtr", "text generator"):
        return
    search, query = SEARCHES[kind](collections[name]), "text 3 of 59"
    every = search(query, 20)
    scores = [hit.score for hit in every]
    assert len(set(scores)) > 2, "the threshold cuts"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for least in sorted(set(scores))[::4]:
            assert search(query, 20, min_score=least) == [hit for hit in every if hit.score >= least]
        assert search(query, 20, min_score=scores[0] + 1) == []
        assert search(query, 20, min_score=-(10**6)) == search(query, 20, min_score=None) == every


def test_a_shown_score_is_reached(collections: dict[str, Collection]):
    """A score that SQL or numpy shows in single precision is reached by its hit, though in double precision it may be more."""
    for hit in collections["codes"].search(vectors=QUERIES[0], k=10):
        shown = float(str(np.float32(hit.score)))
        assert hit.id in [each.id for each in collections["codes"].search(vectors=QUERIES[0], k=10, min_score=shown)]


def test_hits_that_are_left_out_take_no_round_trip(collections: dict[str, Collection], monkeypatch: pytest.MonkeyPatch):
    """Fewer than k hits because of their scores cause no look at the collection, and no wider search."""
    docs = collections["codes"]
    query = "text 3 of 59"
    before = docs.explain(query)
    monkeypatch.setattr(OpenCollection, "refresh", lambda _self: pytest.fail("a search read the collection's row"))
    explained = docs.explain(query, min_score=before.hits[2].score)
    assert explained.hits == before.hits[:3]
    assert (explained.round_trips, explained.passages_decoded) == (before.round_trips, before.passages_decoded)
    for search in (docs.search, docs.text_search, docs.hybrid_search):
        assert len(search(query, 3, min_score=0.0)) <= 3


def test_a_dropped_collection_is_noticed_nevertheless(database: pgretrieval.RetrievalDatabase):
    """A least score does not hide that a collection is gone."""
    docs = database.create_collection("gone", encoder=ENCODER)
    docs.add(TEXTS[:20], vectors=VECTORS[:20])
    docs.build()
    assert docs.search("text 3", min_score=100.0) == []
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute("select pgretrieval.drop_collection('gone')")
    for search in (docs.search, docs.text_search, docs.hybrid_search):
        with pytest.raises(pgretrieval.CollectionNotFoundError):
            search("text 3", min_score=100.0)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), 1e39, "0.5", True, 10**400], ids=repr)
def test_a_wrong_least_score_is_named(collections: dict[str, Collection], wrong: object):
    """NaN, infinity, texts and numbers beyond single precision are refused by name and value."""
    shown = repr(wrong)[:50].replace("+", r"\+")
    for of in SEARCHES.values():
        with pytest.raises(ConfigError, match=f"min_score is {shown}.*give a finite number"):
            of(collections["codes"])("text 3", 5, min_score=wrong)
