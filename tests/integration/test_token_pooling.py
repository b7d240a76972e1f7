"""Collections whose encoder pools tokens: add, rebuild, worker, SQL and check."""

from __future__ import annotations

from typing import Any

import numpy as np
import psycopg
import pytest

import pgretrieval
from pgretrieval import Collection, ConfigError, EncoderError
from pgretrieval.encode.registry import load_encoder
from pgretrieval.sqlalchemy import vector_array
from tests.support.encoder import HashedEncoder

TEXTS = [f"river lake sea rain snow number{number} tide{number} wave{number} foam{number}" for number in range(30)]
PASSAGES = [{"id": f"p{number}", "text": text} for number, text in enumerate(TEXTS)]
TOKENS = 9


def pooled_count(factor: int) -> int:
    return 1 + (TOKENS - 1) // factor


@pytest.fixture
def docs(database: pgretrieval.RetrievalDatabase) -> Collection:
    """A built collection with half the vectors of each passage."""
    collection = database.create_collection("docs", encoder=HashedEncoder(), token_pooling=2)
    collection.add(PASSAGES)
    collection.build()
    return collection


def counts(database: pgretrieval.RetrievalDatabase) -> dict[str, int]:
    with psycopg.connect(database.url) as connection:
        return dict(connection.execute("select key, token_count from pgretrieval.passage").fetchall())


def test_passages_have_fewer_vectors(database: pgretrieval.RetrievalDatabase, docs: Collection):
    """They are those of the library's pooling; queries keep all of theirs, and searches find the passage."""
    assert set(counts(database).values()) == {pooled_count(2)}
    assert (docs.settings.token_pooling, docs.stats()["token_pooling"], docs.stats()["tokens"]) == (2, 2, 30 * pooled_count(2))
    from sentence_transformers.multi_vector_encoder.modules import HierarchicalTokenPooling
    from torch import from_numpy

    whole = HashedEncoder().encode_document(TEXTS[:1])[0]
    expected = HierarchicalTokenPooling(2).pool_one(from_numpy(whole)).numpy()
    assert docs.encoder.encode_document(TEXTS[:1])[0] == pytest.approx(expected, abs=1e-6)
    assert np.linalg.norm(expected, axis=1) == pytest.approx(np.ones(len(expected)), abs=1e-5)
    assert len(docs.encoder.encode_query(TEXTS[:1])[0]) == TOKENS
    assert docs.search("number7 tide7", 1)[0].id == "p7"
    assert docs.exact_rankings(docs.encoder.encode_query(["number7 tide7"]), 1) == [["p7"]]
    assert docs.search("number7 tide7", 1, matches=True)[0].matches
    assert docs.check() == []


def test_another_process_follows(database: pgretrieval.RetrievalDatabase, docs: Collection):
    """The factor is stored: an opened collection pools, a worker too, and vectors given in Python or SQL stay as they are."""
    opened = database.get_collection("docs", encoder=HashedEncoder())
    opened.add([{"id": "new", "text": TEXTS[0].replace("0", "90")}])
    opened.update([{"id": "p1", "text": TEXTS[1].replace("1", "91")}])
    given = HashedEncoder().encode_document([TEXTS[0].replace("0", "92")])
    opened.add([{"id": "given", "text": "given"}], vectors=given)
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute("select pgretrieval.add_passage('docs', 'sql', 'sql', %s::vector[])", [vector_array(given[0])])
    found = counts(database)
    assert {key: found[key] for key in ("new", "p1", "given", "sql")} == {
        "new": pooled_count(2),
        "p1": pooled_count(2),
        "given": TOKENS,
        "sql": TOKENS,
    }
    assert opened.search("number91 tide91", 1)[0].id == "p1"
    assert docs.check() == []


def test_a_worker_pools(database: pgretrieval.RetrievalDatabase):
    """Rows of an attached table become pooled passages."""
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute("create table notes (id text primary key, body text)")
        connection.execute("insert into notes values ('a', %s)", [TEXTS[0]])
    docs = database.create_collection("docs", encoder=HashedEncoder(), token_pooling=4)
    database.attach("docs", "notes", text="body")
    database.work([docs])
    assert counts(database) == {"a": pooled_count(4)}


def test_a_rebuild_changes_the_factor(database: pgretrieval.RetrievalDatabase, docs: Collection):
    """All texts are encoded again; without the option the factor stays, also with another encoder."""
    docs.rebuild(token_pooling=4)
    assert set(counts(database).values()) == {pooled_count(4)}
    assert (docs.settings.token_pooling, docs.search("number7 tide7", 1)[0].id) == (4, "p7")
    docs.rebuild()
    docs.rebuild(encoder=HashedEncoder(48))
    assert (docs.settings.token_pooling, docs.stats()["dim"]) == (4, 48)
    assert set(counts(database).values()) == {pooled_count(4)}
    docs.rebuild(token_pooling=1)
    assert set(counts(database).values()) == {TOKENS}
    assert "token_pooling" not in docs.stats()["encoder"]
    assert docs.check() == []


def test_the_default_encoder_pools(database: pgretrieval.RetrievalDatabase):
    """Without encoder= it is minilm, which another process finds with its factor; the name alone fits when it is opened again."""
    docs = database.create_collection("docs", token_pooling=3)
    docs.add([{"id": "tea", "text": "Green tea is brewed with water that has cooled to about 80 degrees."}])
    opened = database.get_collection("docs")
    assert opened.encoder.token_pooling == 3
    assert opened.encoder.document_tokens("tea") is None
    opened._opened.require_encoder("minilm")
    whole = load_encoder("minilm").encode_document("Green tea is brewed with water that has cooled to about 80 degrees.")[0]
    assert counts(database) == {"tea": 1 + (len(whole) - 1) // 3}
    assert opened.hybrid_search("how hot is the water", 1)[0].id == "tea"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"token_pooling": 0}, "token_pooling is 0; give a whole number from 1 to 9,999"),
        ({"token_pooling": 2, "unit_vectors": False, "encoder": HashedEncoder()}, "clusters of tokens need unit vectors"),
        ({"token_pooling": 2, "vectors_per_passage": 8, "encoder": HashedEncoder()}, "a constant number of vectors"),
        ({"token_pooling": 2, "encoder": "none"}, 'token_pooling is 2, but encoder "none" computes no token vectors'),
    ],
)
def test_what_cannot_be_pooled(database: pgretrieval.RetrievalDatabase, options: dict[str, Any], said: str):
    """ConfigError names the value and the remedy."""
    with pytest.raises(ConfigError, match=said):
        database.create_collection("docs", **options)
    assert database.list_collections() == []


def test_a_rebuild_refuses_what_cannot_be_pooled(database: pgretrieval.RetrievalDatabase):
    """Lengths that were kept, and a factor below 1."""
    docs = database.create_collection("docs", encoder=HashedEncoder(), unit_vectors=False)
    docs.add(PASSAGES)
    with pytest.raises(ConfigError, match="clusters of tokens need unit vectors"):
        docs.rebuild(token_pooling=2)
    with pytest.raises(ConfigError, match="token_pooling is 0"):
        docs.rebuild(token_pooling=0)


def test_a_stored_factor_that_is_none(database: pgretrieval.RetrievalDatabase):
    """A factor written in SQL that is no number is an error that names it."""
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute(
            """select pgretrieval.create_collection('docs', encoder => '{"kind": "minilm", "token_pooling": "two"}')"""
        )
    with pytest.raises(EncoderError, match="token_pooling"):
        database.get_collection("docs").add(PASSAGES)
