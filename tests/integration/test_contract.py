"""The Python API on simple cases."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import psycopg
import pytest
from sqlalchemy import URL, make_url

import pgretrieval
from pgretrieval import AddReport, Hit, Passage
from pgretrieval.db.urls import url_text
from tests.fixtures.collections import Corpus
from tests.support.encoder import HashedEncoder
from tests.support.vectors import clustered, passages

PETS = [
    {"id": "cat", "title": "Cats", "text": "a cat sleeps on the warm sofa", "metadata": {"legs": 4}},
    {"id": "dog", "text": "the dog runs after a ball in the park"},
    {"id": "fish", "text": "fish swim silently under water"},
    {"id": "bird", "text": "birds sing early in spring"},
]


@pytest.mark.both_versions
def test_texts_are_added_built_and_found(database: pgretrieval.RetrievalDatabase, hashed_encoder: HashedEncoder):
    """Texts are added, built and found, with all fields of a hit."""
    docs = database.create_collection("docs", encoder=hashed_encoder, bits=4)
    assert docs.add(PETS) == AddReport(passages=4, tokens=27, truncated=0)
    docs.build()
    best = docs.search("cats warm sofa", k=2)
    assert [type(hit) for hit in best] == [Hit, Hit]
    assert (best[0].rank, best[0].id, best[0].title, best[0].text, best[0].metadata) == (
        1,
        "cat",
        "Cats",
        "a cat sleeps on the warm sofa",
        {"legs": 4},
    )
    assert best[0].score > best[1].score
    assert docs.search("dog ball", k=1)[0].title is None
    assert docs.search("dog ball", k=1)[0].metadata == {}


@pytest.mark.both_versions
def test_own_vectors_are_added_built_and_found(database: pgretrieval.RetrievalDatabase, corpus: Corpus):
    """A passage is found by its own token vectors."""
    docs = database.create_collection("docs", bits=4)
    report = docs.add(corpus.passages, vectors=corpus.vectors)
    assert report == AddReport(passages=300, tokens=sum(map(len, corpus.vectors)), truncated=0)
    built = docs.build()
    assert (built.passages, built.tokens, built.built) == (300, report.tokens, True)
    for number in (0, 17, 299):
        assert docs.search(vectors=corpus.vectors[number], k=3)[0].id == f"p{number}"


def test_the_title_is_encoded_before_the_text(database: pgretrieval.RetrievalDatabase, hashed_encoder: HashedEncoder):
    """The title is encoded before the text, separated by a space."""
    docs = database.create_collection("docs", encoder=hashed_encoder)
    docs.add([{"id": "a", "title": "zebra", "text": "stripes everywhere"}, {"id": "b", "text": "something else"}])
    docs.build()
    hit = docs.search("zebra stripes", k=1)[0]
    assert hit.id == "a"
    assert hit.score == pytest.approx(2, abs=0.1)


def test_collections_are_created_opened_listed_and_dropped(database: pgretrieval.RetrievalDatabase):
    """Created collections are listed and opened until they are dropped."""
    assert database.list_collections() == []
    database.create_collection("b", dim=64, bits=2)
    database.create_collection("a", dim=64)
    assert database.list_collections() == ["a", "b"]
    assert (database.get_collection("b").name, database.get_collection("b").settings.bits) == ("b", 2)
    database.drop_collection("b")
    assert database.list_collections() == ["a"]
    database.create_collection("b", dim=48)
    assert database.get_collection("b").stats()["dim"] == 48


def test_passages_may_be_mappings_or_passage_objects(database: pgretrieval.RetrievalDatabase, corpus: Corpus):
    """Mappings and Passage objects are accepted with all fields."""
    docs = database.create_collection("docs")
    docs.add([Passage("x", "text x", "title x", {"n": 1}), corpus.passages[1]], vectors=corpus.vectors[:2])
    docs.build()
    hits = {hit.id: hit for hit in docs.search(vectors=corpus.queries[0])}
    assert (hits["x"].title, hits["x"].text, hits["x"].metadata) == ("title x", "text x", {"n": 1})


def test_a_generator_is_streamed_in_batches(database: pgretrieval.RetrievalDatabase, hashed_encoder: HashedEncoder):
    """`add` reads a generator in batches, not into memory as a whole."""
    ahead: list[int] = []

    def source() -> Iterator[dict[str, Any]]:
        for number in range(2500):
            ahead.append(number + 1 - hashed_encoder.encoded)
            yield {"id": f"g{number}", "text": f"word{number} shared"}

    docs = database.create_collection("docs", encoder=hashed_encoder)
    assert docs.add(source()).passages == 2500
    assert max(ahead) <= 1024 + 1
    assert docs.stats()["passages"] == 2500


def test_vectors_may_come_from_a_generator(database: pgretrieval.RetrievalDatabase, corpus: Corpus):
    """Vectors from a generator are read in step with their passages."""
    docs = database.create_collection("docs")
    docs.add(iter(corpus.passages), vectors=(matrix for matrix in corpus.vectors))
    docs.build()
    assert docs.search(vectors=corpus.vectors[123], k=1)[0].id == "p123"


def test_vectors_are_scaled_to_unit_length(database: pgretrieval.RetrievalDatabase, corpus: Corpus):
    """Vectors are scaled to unit length."""
    docs = database.create_collection("docs")
    docs.add(
        corpus.passages,
        vectors=[matrix * factor for matrix, factor in zip(corpus.vectors, np.geomspace(1e-12, 1e12, 300), strict=True)],
    )
    docs.build()
    hit = docs.search(vectors=corpus.vectors[5], k=1)[0]
    assert hit.id == "p5"
    assert hit.score == pytest.approx(len(corpus.vectors[5]), rel=0.05)


def test_torch_tensors_and_lists_are_taken_as_vectors(database: pgretrieval.RetrievalDatabase, corpus: Corpus):
    """torch tensors and nested lists are accepted as vectors."""
    import torch

    docs = database.create_collection("docs")
    docs.add(corpus.passages[:2], vectors=[torch.from_numpy(corpus.vectors[0]).half(), corpus.vectors[1].tolist()])
    docs.build()
    assert docs.search(vectors=torch.from_numpy(corpus.vectors[0]), k=1)[0].id == "p0"


def test_search_many_equals_single_searches(built: pgretrieval.Collection, corpus: Corpus):
    """search_many gives the results of single searches, in order."""
    together = built.search_many(vectors=corpus.queries, k=5)
    assert together == [built.search(vectors=query, k=5) for query in corpus.queries]


def test_search_many_takes_texts(database: pgretrieval.RetrievalDatabase, hashed_encoder: HashedEncoder):
    """search_many encodes texts in their order."""
    docs = database.create_collection("docs", encoder=hashed_encoder)
    docs.add(PETS)
    docs.build()
    found = docs.search_many(["dog ball park", "fish swim", "a much longer query about birds that sing"], k=1)
    assert [hits[0].id for hits in found] == ["dog", "fish", "bird"]
    assert docs.search_many([]) == []


def test_explain_shows_every_stage_and_count(built: pgretrieval.Collection, corpus: Corpus):
    """explain reports every stage and count."""
    explanation = built.explain(vectors=corpus.queries[0], k=5)
    assert explanation.hits == built.search(vectors=corpus.queries[0], k=5)
    assert {"encode", "probe", "candidates", "maxsim", "texts"} <= set(explanation.milliseconds)
    assert all(spent >= 0 for spent in explanation.milliseconds.values())
    counts = explanation.as_dict()
    for name in ("probes", "postings_read", "candidates", "passages_decoded", "tokens_decoded", "bytes_moved"):
        assert counts[name] > 0, name
    assert explanation.candidates <= explanation.postings_read
    assert explanation.passages_decoded <= explanation.candidates
    # Every decoded token moved its packed residual, 64 dimensions at 4 bits, and its 2-byte centroid id.
    assert explanation.bytes_moved >= explanation.tokens_decoded * (2 + 32)


def test_pruning_decodes_only_what_it_keeps(built: pgretrieval.Collection, corpus: Corpus):
    """`candidates` and `pruning` reach their stages."""
    explanation = built.explain(vectors=corpus.queries[0], k=5, probes=2, candidates=100, pruning=20)
    assert explanation.candidates == 100
    assert explanation.passages_decoded == 20
    assert explanation.probes <= 2 * len(corpus.queries[0])
    assert "interaction" in explanation.milliseconds


def test_stats_count_stored_rows(built: pgretrieval.Collection, corpus: Corpus):
    """Every key of stats has the right value."""
    stats = built.stats()
    assert stats["passages"] == 300
    assert stats["tokens"] == sum(map(len, corpus.vectors))
    assert stats["centroids"] > 0
    assert (stats["bits"], stats["dim"], stats["built"], stats["waiting_for_build"]) == (4, 64, True, 0)
    assert set(stats["bytes"]) == {
        "centroid",
        "dense_vector",
        "passage",
        "posting",
        "proxy_model",
        "token_code",
        "token_vector",
        "word_posting",
    }
    # Packed residuals and centroid ids alone.
    assert stats["bytes"]["token_code"] > stats["tokens"] * (2 + 32)


def test_psycopg_accepts_the_url(database: pgretrieval.RetrievalDatabase, built: pgretrieval.Collection):
    """psycopg accepts `db.url`."""
    database.create_collection("docs", dim=64)
    with psycopg.connect(database.url) as connection:
        assert connection.execute("select name from pgretrieval.collection").fetchall() == [("docs",)]


def test_the_encoder_is_at_hand(database: pgretrieval.RetrievalDatabase, hashed_encoder: HashedEncoder):
    """`docs.encoder` returns lists of (tokens, dim) arrays with unit rows."""
    docs = database.create_collection("docs", encoder=hashed_encoder)
    for encode in (docs.encoder.encode_query, docs.encoder.encode_document):
        arrays = encode(["two words", "three words here"])
        assert [array.shape for array in arrays] == [(2, 64), (3, 64)]
        assert all(np.allclose(np.linalg.norm(array, axis=1), 1, atol=1e-5) for array in arrays)


def test_minilm_end_to_end(database: pgretrieval.RetrievalDatabase):
    """minilm indexes and searches; truncated texts cause a warning."""
    docs = database.create_collection("docs", encoder="minilm")
    docs.add(PETS)
    with pytest.warns(pgretrieval.PgRetrievalWarning, match="1 of 2 texts were longer"):
        report = docs.add([{"id": "long", "text": "ocean " * 2000}, {"id": "short", "text": "a brief note"}])
    assert (report.passages, report.truncated) == (2, 1)
    docs.build()
    assert docs.stats()["dim"] == 128
    assert docs.search("an animal that meows and naps", k=1)[0].id == "cat"
    assert docs.search("sea", k=1)[0].id == "long"
    again = database.get_collection("docs")
    assert again.search("puppy playing outside", k=1)[0].id == "dog"
    assert docs.exact_rankings(docs.encoder.encode_query(["puppy playing outside"]), k=2)[0][0] == "dog"


def test_texts_without_an_encoder_take_minilm(database: pgretrieval.RetrievalDatabase):
    """Collections of texts use and store the default encoder."""
    docs = database.create_collection("docs")
    docs.add(PETS)
    assert database.get_collection("docs").stats()["encoder"] == {"kind": "minilm", "version": "2"}


def test_exact_rankings_are_those_of_the_oracle(database: pgretrieval.RetrievalDatabase, hashed_encoder: HashedEncoder):
    """Exact rankings equal a reference over all batches."""
    from tests.support.vectors import maxsim

    rng = np.random.default_rng(3)
    texts = [" ".join(f"w{word}" for word in rng.integers(40, size=8)) for _ in range(700)]
    docs = database.create_collection("docs", encoder=hashed_encoder)
    docs.add([{"id": str(number), "text": text} for number, text in enumerate(texts)])
    query = hashed_encoder.encode_query(["w1 w7 w30"])[0]
    scores = {str(number): maxsim(query, hashed_encoder.encode_document([text])[0]) for number, text in enumerate(texts)}
    found = docs.exact_rankings([query], k=20)[0]
    assert [scores[key] for key in found] == pytest.approx(sorted(scores.values(), reverse=True)[:20], abs=1e-5)


def test_progress_and_stages_are_reported(database: pgretrieval.RetrievalDatabase, corpus: Corpus):
    """Progress is reported to its end, with stages."""
    docs = database.create_collection("docs")
    finished: list[int] = []
    docs.add(passages(1500), vectors=clustered(1500, tokens=(2, 4)), progress=finished.append)
    assert sum(finished) == 1500
    told: dict[str, tuple[int, int]] = {}
    docs.build(stage=lambda name, done, total: told.update({name: (done, total)}))
    assert list(told) == ["train", "code", "postings", "words", "index", "switch", "drop"]
    assert all(done == total for done, total in told.values())


def test_connect_to_a_url_of_sqlalchemy(database: pgretrieval.RetrievalDatabase, database_url: str):
    """URLs of SQLAlchemy are accepted with their driver and password."""
    made = make_url(database_url).set(drivername="postgresql+psycopg")
    made = made.set(username=made.username or "postgres")
    database.create_collection("docs", dim=64)
    with pgretrieval.connect(made) as again:
        assert again.list_collections() == ["docs"]
    with pytest.raises(pgretrieval.PgRetrievalError):
        pgretrieval.connect(made.set(database="not there"))


def test_a_password_in_a_url_of_sqlalchemy_is_kept():
    """The password of a SQLAlchemy URL, which str() masks, is used."""
    made = URL.create("postgresql+psycopg", "me", "p@ss:word/", "host", 5432, "db")
    assert url_text(made) == "postgresql+psycopg://me:p%40ss%3Aword%2F@host:5432/db"


@pytest.mark.parametrize("name", [each.name for each in dataclasses.fields(pgretrieval.CollectionSettings)])
def test_settings_are_those_of_stats_and_not_attributes_of_the_collection(built: pgretrieval.Collection, name: str):
    shown = {"bits": 4, "scorer": "maxsim", "unit_vectors": True, "language": "english", **built.stats(), "texts_alone": False}
    assert getattr(built.settings, name) == shown.get(name)
    with pytest.raises(AttributeError, match=f"use settings.{name}"):
        getattr(built, name)


def test_the_old_name_of_the_generator_is_answered_with_the_new(built: pgretrieval.Collection):
    """`Collection.candidates` names `generator`, and an unknown search option is also a TypeError."""
    assert built.settings.generator == built.stats()["generator"] == "auto"
    with pytest.raises(AttributeError, match=r"use settings\.generator"):
        _ = built.candidates  # type: ignore[attr-defined]
    assert not hasattr(built, "candidates")
    for search in (built.search, lambda query, **options: built.search_many([query], **options), built.explain):
        with pytest.raises(TypeError, match="no option 'prob'; did you mean probes"):
            search("text", prob=3)
