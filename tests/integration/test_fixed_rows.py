"""Collections with a constant number of vectors per passage: one row each, checked by adds, changed by rebuilds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import psycopg
import pytest

import pgretrieval
from pgretrieval.numerics.maxsim import maxsim_many
from pgretrieval.types import Float32Array
from tests.support.encoder import HashedEncoder
from tests.support.sql import vector_array
from tests.support.vectors import clustered, passages

pytestmark = pytest.mark.both_versions

Connection = psycopg.Connection[Any]
C = 8


class PoolingEncoder(HashedEncoder):
    """Declares and returns a number of vectors for every document, padded with the first word's."""

    def __init__(self, vectors: int, dim: int = 64, made: int | None = None) -> None:
        super().__init__(dim)
        self.vectors_per_passage = vectors
        self.made = made or vectors

    def encode_document(self, texts: list[str]) -> list[Float32Array]:  # type: ignore[override]
        return [np.resize(rows, (self.made, self.width)) for rows in super().encode_document(texts)]


def texts(count: int, start: int = 0) -> list[dict[str, str]]:
    """Passages of three words."""
    return [{"id": f"p{number}", "text": f"word{number} two{number % 7} three"} for number in range(start, start + count)]


def held(connection: Connection) -> int | None:
    """`vectors_per_passage` of the collection."""
    return connection.execute("select vectors_per_passage from pgretrieval.collections where name = 'docs'").fetchone()[0]


def toasted(connection: Connection, name: str = "docs") -> int:
    """Number of rows with codes out of line."""
    found = connection.execute(
        """select reltoastrelid::regclass::text from pg_class
           where oid = (select format('pgretrieval.token_code_%%s', collection_id)::regclass
                        from pgretrieval.collection where name = %s)""",
        [name],
    ).fetchone()[0]
    return connection.execute(f"select count(*) from {found}").fetchone()[0]


@pytest.mark.parametrize(("vectors", "bits"), [(32, 4), (64, 2), (64, 4)])
def test_a_passage_is_one_row(database: pgretrieval.RetrievalDatabase, connection: Connection, vectors: int, bits: int):
    """Codes beyond 2 kB stay in line, written by Python or SQL, at a build or an add."""
    docs = database.create_collection("docs", bits=bits, dim=128, vectors_per_passage=vectors)
    plain = database.create_collection("plain", bits=bits, dim=128)
    given = clustered(60, dim=128, tokens=(vectors, vectors))
    for collection in (docs, plain):
        collection.add(passages(60), vectors=given)
        collection.build()
    docs.add(passages(20, start=60), vectors=given[:20])
    connection.execute("select pgretrieval.add_passage('docs', 'sql', 'text', %s::vector[])", [vector_array(given[0])])
    assert toasted(connection) == 0
    assert toasted(connection, "plain") > 0
    assert docs.stats()["codes_inline"] is True
    assert plain.stats()["codes_inline"] is False
    assert docs.check() == []


def test_the_number_is_given_or_the_encoders(database: pgretrieval.RetrievalDatabase, connection: Connection):
    """The number given, or the encoder's, is stored."""
    docs = database.create_collection("docs", encoder=PoolingEncoder(C))
    assert held(connection) == docs.stats()["vectors_per_passage"] == C
    assert connection.execute("select pgretrieval.stats('docs') -> 'vectors_per_passage'").fetchone() == (C,)
    assert database.create_collection("given", vectors_per_passage=5).stats()["vectors_per_passage"] == 5
    assert database.create_collection("words", encoder=HashedEncoder()).stats()["vectors_per_passage"] is None
    with pytest.raises(pgretrieval.ConfigError, match=r"vectors_per_passage is 5, but encoder .* returns 8; leave it out"):
        database.create_collection("both", encoder=PoolingEncoder(C), vectors_per_passage=5)
    for wrong in (0, True, "8"):
        with pytest.raises(pgretrieval.ConfigError, match=r"vectors_per_passage is .*at least 1"):
            database.create_collection("wrong", vectors_per_passage=wrong)
    with pytest.raises(psycopg.Error, match="vectors_per_passage is 0") as raised:
        connection.execute("select pgretrieval.create_collection('wrong', vectors_per_passage => 0)")
    assert raised.value.sqlstate == "PGR05"


@pytest.mark.parametrize("built", [False, True])
def test_every_add_is_checked(database: pgretrieval.RetrievalDatabase, connection: Connection, built: bool):
    """Every add refuses passages with another number of vectors."""
    docs = database.create_collection("docs", vectors_per_passage=C)
    given = clustered(40, tokens=(C, C))
    docs.add(passages(40), vectors=given)
    if built:
        docs.build()
    message = "passage 'q1' has 7 vectors, but every passage of this collection has 8"
    for change in (docs.add, lambda *taken: docs.add(*taken, on_conflict="update")):
        with pytest.raises(pgretrieval.VectorError, match=message):
            change([{"id": "q0", "text": "a"}, {"id": "q1", "text": "b"}], [given[0], given[1][:7]])
    with pytest.raises(pgretrieval.VectorError, match="passage 'p3' has 7 vectors"):
        docs.update([{"id": "p3", "text": "b"}], vectors=[given[1][:7]])
    with pytest.raises(psycopg.Error, match="passage 'q1' has 7 vectors, but every passage of this collection has 8") as raised:
        connection.execute("select pgretrieval.add_passage('docs', 'q1', 'text', %s::vector[])", [vector_array(given[1][:7])])
    assert raised.value.sqlstate == "PGR05"
    connection.execute("select pgretrieval.add_passage('docs', 'q1', 'text', %s::vector[])", [vector_array(given[1])])
    assert docs.stats()["passages"] == 41
    assert docs.check() == []


@pytest.mark.parametrize("options", [{}, {"keep_vectors": True}, {"generator": "proxy"}], ids=["codes", "vectors kept", "proxies"])
def test_searches_agree_with_exact_scores(database: pgretrieval.RetrievalDatabase, options: dict[str, Any]):
    """Searches decode each passage's vectors and agree with exact scores."""
    docs = database.create_collection("docs", vectors_per_passage=C, **options)
    given = clustered(400, tokens=(C, C))
    docs.add(passages(400), vectors=given)
    docs.build()
    queries = [rows[:4] for rows in given[:20]]
    exact = maxsim_many(queries, np.concatenate(given), np.arange(401) * C)
    best = [f"p{place}" for place in exact.argmax(axis=1).tolist()]
    for knobs in ({"pruning": 20}, {"pruning": 20, "where": {"number": {"$gte": 0}}}, {"candidates": 64, "pruning": 64}):
        assert [hits[0].id for hits in docs.search_many(vectors=queries, k=10, **knobs)] == best
    assert docs.search(vectors=queries[0], where={"number": -1}) == []


@pytest.mark.parametrize(
    ("before", "after"),
    [(HashedEncoder, lambda: PoolingEncoder(40)), (lambda: PoolingEncoder(40), lambda: PoolingEncoder(48)),
     (lambda: PoolingEncoder(40), HashedEncoder)],
    ids=["to one number", "to another", "to none"],
)  # fmt: skip
def test_another_encoder_changes_the_number_at_the_switch(
    database: pgretrieval.RetrievalDatabase,
    connection: Connection,
    before: Callable[[], HashedEncoder],
    after: Callable[[], HashedEncoder],
):
    """A rebuild with another encoder changes the number at the switch, for concurrent searches and changes."""
    docs = database.create_collection("docs", encoder=before())
    docs.add(texts(60))
    docs.build()
    number = held(connection)
    other = database.get_collection("docs", encoder=before())
    seen = []

    def stage(name: str, _done: int, _total: int) -> None:
        if name not in seen and name in ("train", "postings"):
            other.add(texts(20, start=100 + 20 * len(seen)))
            assert held(connection) == number
            assert other.search("word3 three")[0].id == "p3"
            seen.append(name)

    changed = after()
    docs.rebuild(encoder=changed, stage=stage)
    assert seen == ["train", "postings"]
    made = getattr(changed, "vectors_per_passage", None)
    assert held(connection) == docs.settings.vectors_per_passage == other.settings.vectors_per_passage == made
    assert docs.check() == []
    assert docs.search("word3 three")[0].id == "p3"
    if made:
        docs.rebuild()
        assert held(connection) == made
        assert docs.stats()["tokens"] == 100 * made
        assert toasted(connection) == 0
    assert docs.check() == []


def test_an_encoder_with_another_number_than_declared(database: pgretrieval.RetrievalDatabase, connection: Connection):
    """A rebuild with an encoder that returns another number than declared fails before the switch."""
    docs = database.create_collection("docs", encoder=HashedEncoder())
    docs.add(texts(10))
    with pytest.raises(pgretrieval.VectorError, match="passage 'p0' has 3 vectors, but every passage of this collection has 8"):
        docs.rebuild(encoder=PoolingEncoder(C, made=3))
    assert held(connection) is None
    docs.rebuild(encoder=PoolingEncoder(3))
    assert held(connection) == 3
    assert docs.check() == []


def test_the_number_of_a_saved_model(library_folder: Any):
    """The number is read from a saved pooling of documents only, unless a later pooling depends on length."""
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.multi_vector_encoder.modules import HierarchicalTokenPooling

    from pgretrieval.encode.modules import ConstPooling, load_model, with_pooling
    from pgretrieval.encode.registry import load_encoder

    model = load_model(library_folder, "cpu")
    assert load_encoder(model).vectors_per_passage is None
    assert load_encoder(with_pooling(model, 4, tokens=24)).vectors_per_passage == 4
    assert load_encoder(with_pooling(model, 4, tokens=24, tasks="query")).vectors_per_passage is None
    later = MultiVectorEncoder(modules=[*model, ConstPooling(24, 4, 64), HierarchicalTokenPooling(2.0)], device="cpu")
    assert load_encoder(later).vectors_per_passage is None
    assert load_encoder("minilm").vectors_per_passage is None
