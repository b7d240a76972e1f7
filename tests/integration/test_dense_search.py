"""Searches by dense vectors that the encoder computes, and the errors where it does not."""

from __future__ import annotations

import numpy as np
import psycopg
import pytest

import pgretrieval
from pgretrieval import Collection, ConfigError, DimensionMismatchError, InputError, VectorError
from pgretrieval.types import Float32Array
from tests.support.encoder import HashedEncoder
from tests.support.vectors import clustered, passages

WORDS = ["river", "lake", "sea", "rain", "snow"]
TEXTS = [{"id": f"p{number}", "text": f"{WORDS[number % 5]} number{number}", "metadata": {"n": number}} for number in range(40)]


class DenseEncoder(HashedEncoder):
    """Hashed words, and their mean as the dense vector."""

    def __init__(self, dim: int = 64) -> None:
        super().__init__(dim)
        self.queries = 0

    def encode_query_with_dense(self, texts: list[str]) -> tuple[list[Float32Array], Float32Array]:
        self.queries += len(texts)
        return self.encode_document_with_dense(texts)

    def encode_document_with_dense(self, texts: list[str]) -> tuple[list[Float32Array], Float32Array]:
        tokens = self.encode_document(texts)
        return tokens, np.stack([rows.mean(axis=0) for rows in tokens])


def unit_mean(encoder: HashedEncoder, text: str) -> Float32Array:
    mean = encoder.encode_query([text])[0].mean(axis=0)
    return mean / np.linalg.norm(mean)


@pytest.fixture
def docs(database: pgretrieval.RetrievalDatabase) -> Collection:
    """A built collection whose encoder computes dense vectors."""
    collection = database.create_collection("docs", dense="kept", encoder=DenseEncoder())
    collection.add(TEXTS)
    collection.build()
    return collection


def test_the_encoder_computes_the_querys_vector(docs: Collection):
    """Hits and scores are those of the cosine of the encoder's vectors; a given vector is the same search without the encoder."""
    encoder = DenseEncoder()
    query = unit_mean(encoder, "snow number3")
    scores = {passage["id"]: float(query @ unit_mean(encoder, str(passage["text"]))) for passage in TEXTS}
    found = docs.dense_search("snow number3", 5)
    assert [hit.score for hit in found] == pytest.approx(sorted(scores.values(), reverse=True)[:5], abs=2e-3)
    assert [hit.rank for hit in found] == [1, 2, 3, 4, 5]
    assert docs.dense_search(dense=7 * query, k=5) == [
        pgretrieval.Hit(hit.rank, hit.id, pytest.approx(hit.score, abs=1e-6), hit.title, hit.text, hit.metadata) for hit in found
    ]
    told = docs.dense_search("snow number3", 1, matches=True)[0]
    assert (told.matches, told.components) == ((), {"dense": told.score})
    assert told.note
    assert "one vector of each passage" in told.note
    few = docs.dense_search("snow number3", 5, where={"n": {"$lt": 10}}, min_score=0.3)
    assert few
    assert all(hit.metadata["n"] < 10 and hit.score >= 0.3 for hit in few)


def test_an_encoder_that_a_rebuild_changed(docs: Collection, database: pgretrieval.RetrievalDatabase):
    """After another handle's rebuild, texts need the new encoder, and given vectors have the new dimension."""
    assert docs.dense_search("snow", 1)
    changed = database.get_collection("docs", encoder=DenseEncoder())
    changed.rebuild(encoder="minilm")
    found = docs.dense_search("snow", 3)
    assert found == changed.dense_search("snow", 3)
    assert found[0].text.startswith("snow")
    tokens, (query,) = changed.encoder.encode_query_with_dense("snow")
    for handle in (docs, database.get_collection("docs")):
        assert [hit.id for hit in handle.dense_search(dense=query, k=3)] == [hit.id for hit in found]
    with pytest.raises(DimensionMismatchError, match=f"has 64 dimensions, but the collection's have {len(query)}"):
        docs.dense_search(dense=query[:64])
    assert docs.hybrid_search("snow", vectors=tokens[0], dense=query)


def test_the_dimension_that_another_handle_changed(docs: Collection, database: pgretrieval.RetrievalDatabase):
    """A given vector of the new dimension is taken by a handle that was opened before, also by a hybrid search."""
    other = DenseEncoder(96)
    database.get_collection("docs", encoder=DenseEncoder()).rebuild(encoder=other)
    query = unit_mean(other, "snow")
    for found in (docs.dense_search(dense=query), docs.hybrid_search("snow", vectors=other.encode_query(["snow"])[0], dense=query)):
        assert found[0].text.startswith("snow")
    with pytest.raises(pgretrieval.EncoderError, match=r"encoder object of type .*, which is not stored; pass encoder="):
        docs.dense_search("snow")


def test_queries_that_cannot_be(docs: Collection):
    """Neither or both of text and vector, blank texts and invalid vectors are refused."""
    for given in ({}, {"query": "snow", "dense": np.ones(64)}):
        with pytest.raises(ConfigError, match="give either the query's text or dense="):
            docs.dense_search(**given)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="the query is ' '"):
        docs.dense_search(" ")
    for wrong in (np.zeros(64), np.full(64, np.nan), np.ones((2, 32)), "no"):
        with pytest.raises(VectorError, match="the dense vector of the query"):
            docs.dense_search(dense=wrong)
    with pytest.raises(ConfigError, match="k is 0"):
        docs.dense_search("snow", 0)
    with pytest.raises(ConfigError, match="min_score is nan"):
        docs.dense_search("snow", min_score=float("nan"))


def test_collections_without_dense_vectors_of_the_encoder(
    database: pgretrieval.RetrievalDatabase, connection: psycopg.Connection[object]
):
    """The error tells whether there are none, they were given, or they are the application's."""
    database.create_collection("none", dense=None, encoder=DenseEncoder()).add(TEXTS)
    given = database.create_collection("given", dense="kept", encoder=DenseEncoder())
    given.add(passages(10), vectors=clustered(10), dense=np.eye(10, 24, dtype=np.float32))
    connection.execute("create table public.articles (id text primary key, embedding vector(3))")
    connection.execute("insert into public.articles values ('p1', '[1,2,3]')")
    theirs = database.create_collection("theirs", dense="public.articles.embedding", encoder=DenseEncoder())
    theirs.add(TEXTS)
    for search in ({"query": "snow"}, {"dense": [1, 2, 3]}):
        with pytest.raises(ConfigError, match="collection 'none' has no dense vectors; create it with dense="):
            database.get_collection("none", encoder=DenseEncoder()).dense_search(**search)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="of collection 'given' were given, not computed by its encoder; give dense="):
        given.dense_search("snow")
    with pytest.raises(ConfigError, match=r"of collection 'theirs' are those of public.articles.embedding, .*; give dense="):
        theirs.dense_search("snow")
    assert given.dense_search(dense=np.eye(10, 24)[3], k=1)[0].id == "p3"
    assert [(hit.id, hit.score) for hit in theirs.dense_search(dense=[1, 2, 3])] == [("p1", pytest.approx(1))]


def test_a_dropped_collection(docs: Collection, database: pgretrieval.RetrievalDatabase):
    """A search of a collection that is gone raises the error of other searches."""
    database.drop_collection("docs")
    with pytest.raises(pgretrieval.CollectionNotFoundError):
        docs.dense_search("snow")
