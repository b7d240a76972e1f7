"""The functions of factorisations and of inline rows, called one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import psycopg
import pytest

import pgretrieval
from pgretrieval.db.handles import CollectionTables, FactorizationTables
from pgretrieval.db.tables import factorizations
from tests.support.cross_encoder import TableCrossEncoder, queries
from tests.support.vectors import clustered

pytestmark = pytest.mark.both_versions

Connection = psycopg.Connection[Any]


@pytest.fixture
def docs(database: pgretrieval.RetrievalDatabase) -> pgretrieval.Collection:
    """60 passages, factorised with 12 anchor items and 40 anchor queries."""
    made = database.create_collection("docs")
    made.add([{"id": f"i{n}", "text": f"item {n}", "metadata": {"n": n}} for n in range(60)], vectors=clustered(60))
    made.factorize(TableCrossEncoder(), queries(range(40)), 12)
    return made


def one(connection: Connection, statement: str, *values: Any) -> Any:
    row = connection.execute(statement, values).fetchone()
    assert row is not None
    return row[0]


def partition(connection: Connection, name: str) -> str | None:
    return one(connection, "select to_regclass('pgretrieval.' || %s)::text", name)


def test_inline_codes(connection: Connection, database: pgretrieval.RetrievalDatabase):
    """Codes of a constant number of vectors stay in line, and go out of line when the number is removed."""
    database.create_collection("docs")
    number = one(connection, "select collection_id from pgretrieval.collection")
    options = "select reloptions from pg_class where oid = ('pgretrieval.token_code_' || %s)::regclass"
    for vectors, expected in ((None, None), (32, ["toast_tuple_target=8160"]), (16, ["toast_tuple_target=8160"]), (None, None)):
        connection.execute("select pgretrieval.inline_codes(%s, %s)", [number, vectors])
        assert one(connection, options, number) == expected


def test_create_partition(connection: Connection, database: pgretrieval.RetrievalDatabase):
    """A resumed run finds its partition, and each factorisation has its own."""
    for _ in range(2):
        connection.execute("select pgretrieval.create_partition('anchor_score', 'matrix_id', 7)")
    connection.execute("select pgretrieval.create_partition('item_embedding', 'factorization_id', 9)")
    connection.execute("insert into pgretrieval.anchor_score (matrix_id, passage_id, scores) values (7, 1, '')")
    connection.execute("insert into pgretrieval.item_embedding (factorization_id, passage_id, embedding) values (9, 1, '[1]')")
    assert one(connection, "select tableoid::regclass::text from pgretrieval.anchor_score") == "pgretrieval.anchor_score_7"
    assert one(connection, "select tableoid::regclass::text from pgretrieval.item_embedding") == "pgretrieval.item_embedding_9"


def test_the_vector_index_of_item_embeddings(docs: pgretrieval.Collection, connection: Connection):
    """The index has the dimension and element type of searches."""
    collection_id, number = connection.execute("select collection_id, factorization_id from pgretrieval.factorization").fetchone()
    looked = "select indexdef from pg_indexes where indexname = %s"
    for element in ("halfvec", "vector"):
        connection.execute(f"drop index pgretrieval.item_embedding_{number}_hnsw")
        connection.execute("update pgretrieval.factorization set element = %s", [element])
        for _ in range(2):
            factorizations.index_embeddings(FactorizationTables(connection, collection_id, number))
        assert f"{element}(12)) {element}_ip_ops" in one(connection, looked, f"item_embedding_{number}_hnsw")


def test_replaced_factorizations_are_dropped(docs: pgretrieval.Collection, connection: Connection):
    """Unused factorisations are dropped, and the active one stays."""
    collection, made, matrix = connection.execute(
        "select collection_id, factorization_id, matrix_id from pgretrieval.factorization"
    ).fetchone()
    assert factorizations.drop_replaced(CollectionTables(connection, collection), made, matrix)
    assert partition(connection, f"item_embedding_{made}")
    assert partition(connection, f"anchor_score_{matrix}")
    connection.execute("update pgretrieval.collection set factorization_id = null")
    assert factorizations.drop_replaced(CollectionTables(connection, collection), None, matrix)
    assert one(connection, "select pgretrieval.drop_leftover()")
    assert partition(connection, f"item_embedding_{made}") is None
    assert partition(connection, f"anchor_score_{matrix}")
    assert factorizations.drop_replaced(CollectionTables(connection, collection), None, None)
    assert one(connection, "select pgretrieval.drop_leftover()")
    assert partition(connection, f"anchor_score_{matrix}") is None
    assert one(connection, "select count(*) from pgretrieval.score_matrix") == 0


def test_known_collection_that_is_to_be_factorised(
    docs: pgretrieval.Collection, connection: Connection, database: pgretrieval.RetrievalDatabase
):
    """A collection without a factorisation raises an error."""
    assert one(connection, "select name from pgretrieval.known_collection('docs', factorized => true)") == "docs"
    database.create_collection("plain")
    with pytest.raises(psycopg.errors.DatabaseError, match="'plain' has no factorisation") as caught:
        connection.execute("select pgretrieval.known_collection('plain', factorized => true)")
    assert caught.value.sqlstate == "PGR05"


def test_candidates_by_embedding(docs: pgretrieval.Collection, connection: Connection):
    """Candidates have the highest inner products, without excluded and passed-over passages."""
    collection, made = connection.execute("select collection_id, factorization_id from pgretrieval.factorization").fetchone()
    rows = connection.execute("select passage_id, embedding::real[] from pgretrieval.item_embedding order by passage_id").fetchall()
    ids = np.array([number for number, _ in rows])
    centre = np.array(one(connection, "select centre from pgretrieval.factorization"), dtype=np.float64)
    query = np.random.default_rng(0).standard_normal(12)
    exact = (np.array([embedding for _, embedding in rows]) + centre) @ query
    statement = "select passage_id, score from pgretrieval.candidates_by_embedding(%s, %s, %s::real[], %s, %s::jsonpath, %s, %s)"
    passed = ids[np.argsort(-exact)[:2]].tolist()
    keys = [f"i{n}" for n in range(0, 60, 2)]
    for n, filter, among, passed_over, left in (
        (60, None, None, None, np.ones(60, dtype=bool)),
        (5, None, None, passed, ~np.isin(ids, passed)),
        (5, "$.n < 20", None, None, np.arange(60) < 20),
        (5, "$.n < 20", keys, None, (np.arange(60) < 20) & (np.arange(60) % 2 == 0)),
    ):
        found = connection.execute(statement, [collection, made, query.tolist(), n, filter, among, passed_over]).fetchall()
        best = [place for place in np.argsort(-exact) if left[place]][:n]
        assert [number for number, _ in found] == ids[best].tolist()
        assert [score for _, score in found] == pytest.approx(exact[best].tolist(), abs=1e-3)
    gone = connection.execute(statement, [collection, made + 1, query.tolist(), 5, None, None, None]).fetchall()
    assert gone == []


def test_stats_of_a_factorization(docs: pgretrieval.Collection, connection: Connection, database: pgretrieval.RetrievalDatabase):
    """stats reports passages added since, and deleted anchors."""
    statement = "select pgretrieval.stats(%s) -> 'factorization'"
    database.create_collection("plain")
    assert one(connection, statement, "plain") is None
    state = one(connection, statement, "docs")
    assert (state["anchor_queries"], state["anchor_items"], state["anchor_items_gone"], state["not_scored"]) == (40, 12, 0, 0)
    anchor = one(connection, "select id from pgretrieval.anchor_items('docs') limit 1")
    docs.add([{"id": "new", "text": "item 60"}], vectors=clustered(1))
    docs.delete([anchor])
    state = one(connection, statement, "docs")
    assert (state["anchor_items_gone"], state["not_scored"]) == (1, 1)


def test_check_anchors_of_one_collection(docs: pgretrieval.Collection, connection: Connection):
    """A sound factorisation has no violations, a broken one has."""
    statement = "select rule from pgretrieval.collection, pgretrieval.check_anchors(collection)"
    assert connection.execute(statement).fetchall() == []
    connection.execute("update pgretrieval.factorization set intersection = ''")
    assert connection.execute(statement).fetchall() == [("wrong_factorization",)]
