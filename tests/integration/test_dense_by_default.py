"""Dense vectors without dense=: kept where the encoder computes them, not needed where token vectors are given."""

from __future__ import annotations

import numpy as np
import psycopg
import pytest

import pgretrieval
from pgretrieval import Collection, ConfigError
from pgretrieval.sqlalchemy import vector_array
from tests.integration.test_dense_search import TEXTS, DenseEncoder
from tests.support.encoder import HashedEncoder


@pytest.fixture
def docs(database: pgretrieval.RetrievalDatabase) -> Collection:
    """A built collection, created without dense=."""
    collection = database.create_collection("docs", encoder=DenseEncoder())
    collection.add(TEXTS)
    collection.build()
    return collection


def test_the_encoders_dense_vectors_are_kept(database: pgretrieval.RetrievalDatabase, docs: Collection):
    """Searches are those of a collection with dense="kept"; a missing vector is a violation there, too."""
    kept = database.create_collection("kept", encoder=DenseEncoder(), dense="kept")
    kept.add(TEXTS)
    kept.build()
    assert (docs.settings.dense, docs.stats()["dense_dim"]) == ("auto", 64)
    assert docs.dense_search("snow number3", 5) == kept.dense_search("snow number3", 5)
    assert docs.hybrid_search("snow number3", 5) == kept.hybrid_search("snow number3", 5)
    assert docs.check() == []
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute(
            "delete from pgretrieval.dense_vector where passage_id = 1 and collection_id = %s", [docs._row.collection_id]
        )
    assert [found.rule for found in docs.check()] == ["missing_dense_vector"]


@pytest.mark.parametrize(
    ("options", "given"),
    [({"encoder": HashedEncoder()}, False), ({"encoder": DenseEncoder(), "dense": None}, False), ({}, True)],
    ids=["an encoder without", "dense=None", "given vectors"],
)
def test_there_are_none(database: pgretrieval.RetrievalDatabase, options: dict[str, object], given: bool):
    """An encoder that computes none, dense=None, and first passages with given token vectors alone."""
    docs = database.create_collection("docs", **options)
    assert docs.settings.dense == ("auto" if given else None)
    docs.add(TEXTS, vectors=HashedEncoder().encode_document([str(each["text"]) for each in TEXTS]) if given else None)
    docs.build()
    assert database.get_collection("docs").settings.dense is None
    vectors = HashedEncoder().encode_query(["snow number39"])[0]
    assert docs.hybrid_search("snow number39", 1, vectors=vectors)[0].id == "p39"
    with pytest.raises(ConfigError, match="has no dense vectors"):
        docs.dense_search(dense=np.ones(64))
    assert docs.check() == []


def test_given_token_vectors_need_no_dense_vector(database: pgretrieval.RetrievalDatabase, docs: Collection):
    """In Python and in SQL; the passages are found, also by hybrid searches, and nothing is a violation."""
    encoder = DenseEncoder()
    python, sql = encoder.encode_document(["glacier number100", "iceberg number101"])
    docs.add([{"id": "python", "text": "glacier number100"}], vectors=[python])
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute("select pgretrieval.add_passage('docs', 'sql', 'iceberg number101', %s::vector[])", [vector_array(sql)])
        assert docs.hybrid_search("glacier number100", 1)[0].id == "python"
        assert docs.hybrid_search("iceberg number101", 1)[0].id == "sql"
        assert {hit.id for hit in docs.dense_search("glacier number100", 100)} == {str(each["id"]) for each in TEXTS}
        tokens, dense = encoder.encode_query_with_dense(["iceberg number101"])
        found = connection.execute(
            "select id from pgretrieval.hybrid_search('docs', %s::vector[], 'iceberg number101', 1, query_dense => %s::vector)",
            [vector_array(tokens[0]), str(dense[0].tolist())],
        ).fetchall()
    assert found == [("sql",)]
    assert docs.check() == []
    docs.add([{"id": "both", "text": "moraine number102"}], vectors=[python], dense=encoder.encode_query_with_dense(["moraine"])[1])
    assert docs.dense_search(dense=encoder.encode_query_with_dense(["moraine"])[1][0], k=1)[0].id == "both"


def test_a_rebuild_follows_the_new_encoder(docs: Collection):
    """One with dense vectors replaces them; one without leaves none, and hybrid searches go on with words."""
    docs.rebuild(encoder=DenseEncoder(48))
    assert (docs.settings.dense, docs.stats()["dense_dim"]) == ("auto", 48)
    assert docs.dense_search("snow number39", 1)[0].id == "p39"
    docs.rebuild(encoder=HashedEncoder())
    assert docs.settings.dense is None
    assert docs.hybrid_search("snow number39", 1)[0].id == "p39"
    assert docs.stats()["bytes"].get("dense_vector", 0) < 50_000
    assert docs.check() == []
    docs.add([{"id": "new", "text": "glacier number100"}])
    assert docs.hybrid_search("glacier number100", 1)[0].id == "new"


def test_a_rebuild_computes_what_given_token_vectors_lacked(docs: Collection):
    """Texts are encoded again, so that every passage has a dense vector."""
    docs.add([{"id": "given", "text": "glacier number100"}], vectors=DenseEncoder().encode_document(["glacier number100"]))
    docs.rebuild(encoder=DenseEncoder(48))
    assert docs.dense_search("glacier number100", 1)[0].id == "given"
    assert docs.check() == []


def test_the_first_add_decides_without_an_encoder(database: pgretrieval.RetrievalDatabase):
    """Texts are encoded by minilm, which computes dense vectors."""
    docs = database.create_collection("docs")
    assert docs.hybrid_search("tea") == []
    with pytest.raises(ConfigError, match="has no dense vectors"):
        docs.dense_search("tea")
    docs.add([{"id": "tea", "text": "Green tea likes water of 80 degrees."}, {"id": "loaf", "text": "A loaf rises slowly."}])
    assert (docs.settings.dense, docs.stats()["dense_dim"]) == ("auto", 384)
    assert docs.dense_search("how bread is made", 1)[0].id == "loaf"
    alone = database.create_collection("alone", encoder="none")
    assert alone.settings.dense is None
