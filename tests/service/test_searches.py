"""Searches by HTTP return what the library returns."""

from __future__ import annotations

from typing import Any

import pytest

import pgretrieval
from pgretrieval.errors import EncoderError
from pgretrieval.rerank import PairScorer, load_cross_encoder
from pgretrieval.serve.options import ServiceOptions
from pgretrieval.serve.service import Service
from tests.support.serving import Serving, failed, serving

QUERY = "money in a bank"


def expected(hits: list[pgretrieval.Hit]) -> list[tuple[Any, ...]]:
    return [(hit.rank, hit.id, pytest.approx(hit.score, abs=1e-3), hit.title, hit.text, hit.metadata) for hit in hits]


def fields(hits: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [tuple(hit[name] for name in ("rank", "id", "score", "title", "text", "metadata")) for hit in hits]


@pytest.mark.parametrize("name", ["docs", "dense"])
def test_every_mode(module_service: Serving, module_database: pgretrieval.RetrievalDatabase, name: str):
    """Each mode is the library's search of that kind, and hybrid is the default."""
    collection = module_database.get_collection(name)
    hybrid = expected(collection.hybrid_search(QUERY, 3))
    assert fields(module_service.hits(name, query=QUERY, k=3)) == hybrid
    assert fields(module_service.hits(name, query=QUERY, k=3, mode="hybrid")) == hybrid
    assert fields(module_service.hits(name, query=QUERY, k=3, mode="late")) == expected(collection.search(QUERY, 3))
    assert fields(module_service.hits(name, query=QUERY, k=3, mode="words")) == expected(collection.text_search(QUERY, 3))
    if name == "dense":
        assert fields(module_service.hits(name, query=QUERY, k=3, mode="dense")) == expected(collection.dense_search(QUERY, 3))


def test_found_words(module_service: Serving):
    """With `matches`, hits of mode words tell where the words are, in title and text."""
    [hit] = module_service.hits(query="flowing rivers", mode="words", matches=True)
    read = f"{hit['title']} {hit['text']}"
    assert [read[start:end] for start, end in hit["words"]] == ["Rivers", "river", "flows"]
    assert "words" not in module_service.hits(query="flowing rivers", mode="words")[0]


def test_late_is_the_default_without_words_and_dense_vectors(module_service: Serving):
    assert list(module_service.search("late", query=QUERY).json()["milliseconds"])[:2] == ["encode", "candidates"]
    assert module_service.hits("late", query=QUERY) == module_service.hits("late", query=QUERY, mode="late")


def test_texts_alone_are_found_by_words(module_service: Serving):
    assert [hit["id"] for hit in module_service.hits("texts", query="river")] == ["river"]
    assert "stores texts only" in failed(module_service.search("texts", query="river", mode="late"), 400)["message"]


@pytest.mark.parametrize(
    ("where", "ids"),
    [
        ({"year": {"$gte": 2000}}, {"bank", "loan"}),
        ({"kind": "water", "year": {"$lt": 1995}}, {"river"}),
        ("$.year < 2000", {"river", "sea"}),
    ],
)
@pytest.mark.parametrize("mode", ["hybrid", "late"])
def test_filters(module_service: Serving, mode: str, where: Any, ids: set[str]):
    """`where` is a mapping or a jsonpath."""
    assert {hit["id"] for hit in module_service.hits(query=QUERY, where=where, mode=mode)} == ids


def test_among(module_service: Serving):
    assert {hit["id"] for hit in module_service.hits(query=QUERY, among=["sea", "loan", 7])} == {"sea", "loan"}
    assert module_service.hits(query=QUERY, among=[]) == []


@pytest.mark.parametrize("mode", ["hybrid", "late", "words"])
def test_min_score(module_service: Serving, mode: str):
    hits = module_service.hits(query=QUERY, mode=mode)
    least = (hits[0]["score"] + hits[1]["score"]) / 2
    assert module_service.hits(query=QUERY, mode=mode, min_score=least) == hits[:1]


def test_matches(module_service: Serving):
    """`matches` adds the token that won for each query token; shares sum to the score, in a hybrid search to its part."""
    for mode in ("late", "hybrid"):
        for hit in module_service.hits(query=QUERY, mode=mode, matches=True):
            shares = sum(match["share"] for match in hit["matches"])
            assert shares == pytest.approx(hit["components"]["late"], abs=1e-3)
            assert sum(hit["components"].values()) == pytest.approx(hit["score"], abs=1e-3)
        best = module_service.hits(query=QUERY, mode=mode, k=1, matches=True)[0]
        read = f"{best['title']} {best['text']}" if best["title"] else best["text"]
        word = next(match for match in best["matches"] if match["query_token"] == "money")
        assert read[word["start"] : word["end"]].lower() == "money"
    words = module_service.hits(query=QUERY, mode="words", matches=True)[0]
    assert words["matches"] == []
    assert words["note"]
    assert "matches" not in module_service.hits(query=QUERY)[0]


def test_rerank(database: pgretrieval.RetrievalDatabase, docs: pgretrieval.Collection, monkeypatch: pytest.MonkeyPatch):
    """A cross-encoder that the operator named scores the hits."""

    class Shortest:
        def predict(self, pairs: list[tuple[str, str]]) -> list[float]:
            return [-float(len(text)) for _, text in pairs]

    monkeypatch.setattr("pgretrieval.serve.service.load_cross_encoder", lambda _name: load_cross_encoder(Shortest()))
    with serving(database, cross_encoders=("shortest",)) as running:
        for mode in ("late", "hybrid"):
            hits = running.hits(query=QUERY, mode=mode, rerank="shortest", k=2, matches=True)
            assert [(hit["id"], hit["score"]) for hit in hits] == [("sea", -17.0), ("bank", -25.0)]
            assert hits[0]["note"]
        assert [hit["id"] for hit in running.hits(query="money bank", mode="words", rerank="shortest")] == ["bank", "loan"]
        assert "shortest" in failed(running.search(query=QUERY, rerank="other"), 400)["remedy"]
        assert running.client.get("/v1/collections/docs").json()["cross_encoders"] == ["shortest"]


def test_a_cross_encoder_that_cannot_be_loaded(database: pgretrieval.RetrievalDatabase, monkeypatch: pytest.MonkeyPatch):
    """The service does not start with it."""

    def load() -> Any:
        raise EncoderError("cannot load it")

    monkeypatch.setattr("pgretrieval.serve.service.load_cross_encoder", lambda _name: PairScorer(load, {"kind": "model"}))
    with pytest.raises(EncoderError, match="cannot load it"):
        Service(database, ServiceOptions(cross_encoders=("nothing",)))


def test_vectors_of_a_query(module_service: Serving):
    """Vectors replace the text, and in a hybrid search the encoder."""
    vectors = module_service.client.post("/v1/encode", json={"collection": "docs", "queries": [QUERY]}).json()["vectors"][0]
    late = module_service.hits(query=QUERY, mode="late", k=2)
    assert fields(module_service.hits(vectors=vectors, k=2)) == fields(late)
    assert fields(module_service.hits(vectors=vectors, query=QUERY, k=2)) == fields(module_service.hits(query=QUERY, k=2))
    assert module_service.hits("given", vectors=[[1.0] + [0.0] * 63])[0]["id"] == "x"


def test_names_with_a_slash(module_service: Serving):
    assert module_service.hits("a%2Fb%20%C3%BC", query="sea")[0]["id"] == "sea"
    assert module_service.client.get("/v1/collections/a%2Fb%20%C3%BC").json()["name"] == "a/b ü"


def test_collections_and_their_modes(module_service: Serving, module_database: pgretrieval.RetrievalDatabase):
    """A collection's answer is `stats`, and what a search of it may ask for."""
    assert module_service.client.get("/v1/collections").json() == {"collections": module_database.list_collections()}
    shown = module_service.client.get("/v1/collections/docs").json()
    stats = module_database.get_collection("docs").stats()
    assert {name: shown[name] for name in stats if name != "bytes"} == {name: stats[name] for name in stats if name != "bytes"}
    modes = {
        "docs": ["hybrid", "late", "words"],
        "dense": ["hybrid", "late", "words", "dense"],
        "late": ["late"],
        "texts": ["words"],
    }
    assert {name: module_service.client.get(f"/v1/collections/{name}").json()["modes"] for name in modes} == modes


def test_stages_are_timed_in_every_mode(module_service: Serving):
    """Each mode reports the milliseconds of its stages, which sum to at most the time of the request."""
    stages = {"hybrid": "encode", "late": "encode", "words": "words", "dense": "dense"}
    for mode, stage in stages.items():
        answer = module_service.search("dense", query=QUERY, mode=mode)
        spent = answer.json()["milliseconds"]
        assert stage in spent
        assert all(each >= 0 for each in spent.values())
        assert sum(spent.values()) < answer.elapsed.total_seconds() * 1e3
