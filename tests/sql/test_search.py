"""pgretrieval.search without the Python client."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import psycopg
import pytest

import pgretrieval
from tests.fixtures.collections import Corpus
from tests.support.sql import vector_array
from tests.support.vectors import clustered, maxsim, passages

pytestmark = pytest.mark.both_versions

Connection = psycopg.Connection[Any]


def search(connection: Connection, query: Any, name: str = "docs", **options: Any) -> list[tuple[Any, ...]]:
    """(rank, id, score) of the hits."""
    named = "".join(f", {option} => %({option})s" for option in options)
    statement = f"select rank, id, score from pgretrieval.search(%(name)s, %(query)s::vector[]{named})"
    return connection.execute(statement, {"name": name, "query": vector_array(query), **options}).fetchall()


@pytest.fixture
def make(database: pgretrieval.RetrievalDatabase, corpus: Corpus):
    """Create and build a collection of the corpus."""

    def made(name: str = "docs", **options: Any) -> pgretrieval.Collection:
        collection = database.create_collection(name, **options)
        collection.add(corpus.passages, vectors=corpus.vectors)
        collection.build()
        return collection

    return made


@pytest.fixture(scope="module")
def shared(module_database: pgretrieval.RetrievalDatabase, corpus: Corpus) -> Iterator[Connection]:
    """A connection to a database with the corpus in "docs", and with its vectors in "kept", for tests that only read."""
    for name in ("docs", "kept"):
        collection = module_database.create_collection(name, keep_vectors=name == "kept")
        collection.add(corpus.passages, vectors=corpus.vectors)
        collection.build()
    with psycopg.connect(module_database.url, autocommit=True) as connection:
        yield connection


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("keep_vectors", [False, True])
def test_hits_and_scores_are_those_of_the_python_client(
    make, connection: Connection, corpus: Corpus, bits: int, keep_vectors: bool
):
    """SQL and the Python client return the same hits and scores."""
    docs = make(bits=bits, keep_vectors=keep_vectors)
    for query in corpus.queries:
        expected = docs.search(vectors=query, candidates=300, pruning=300)
        found = search(connection, query, candidates=300)
        assert [row[:2] for row in found] == [(hit.rank, hit.id) for hit in expected]
        assert [row[2] for row in found] == pytest.approx([hit.score for hit in expected], abs=2e-5)


def test_scores_of_kept_vectors_are_exact(shared: Connection, corpus: Corpus):
    """Scores use stored vectors if there are any."""
    vectors = {passage["id"]: rows for passage, rows in zip(corpus.passages, corpus.vectors, strict=True)}
    for query in corpus.queries:
        exact = {key: maxsim(query, rows) for key, rows in vectors.items()}
        found = search(shared, query, "kept", candidates=300)
        assert [row[2] for row in found] == pytest.approx(sorted(exact.values(), reverse=True)[:10], abs=2e-3)
        assert all(row[2] == pytest.approx(exact[row[1]], abs=2e-3) for row in found)


@pytest.mark.parametrize("keep_vectors", [False, True])
@pytest.mark.parametrize("built", [False, True])
def test_the_mean_and_the_least_score_are_those_of_the_python_client(
    database: pgretrieval.RetrievalDatabase, connection: Connection, corpus: Corpus, keep_vectors: bool, built: bool
):
    """Scores per query token, and the hits that reach a score, are those of the Python client, also with filters."""
    docs = database.create_collection("docs", keep_vectors=keep_vectors)
    docs.add(corpus.passages, vectors=corpus.vectors)
    if built:
        docs.build()
    all_of = {"candidates": 300, "pruning": 300}
    for query in corpus.queries[:3]:
        summed = search(connection, query, candidates=300)
        means = search(connection, query, candidates=300, reduction="mean")
        assert means == [(*row[:2], pytest.approx(row[2] / len(query), rel=1e-6)) for row in summed]
        assert search(connection, query, candidates=300, reduction="sum", min_score=None) == summed
        for restricted in ({}, {"where": {"number": {"$lt": 100}}}):
            filtered = {"filter": "$.number < 100"} if restricted else {}
            least = docs.search(vectors=query, reduction="mean", **restricted, **all_of)[4].score - 2e-5
            expected = docs.search(vectors=query, reduction="mean", min_score=least, **restricted, **all_of)
            found = search(connection, query, candidates=300, reduction="mean", min_score=least, **filtered)
            assert [row[:2] for row in found] == [(hit.rank, hit.id) for hit in expected]
            assert [row[2] for row in found] == pytest.approx([hit.score for hit in expected], abs=2e-6)
            assert len(found) == 5


def test_a_shown_score_is_reached(shared: Connection, corpus: Corpus):
    """The least score is compared in single precision, so a score as SQL shows it keeps its hit."""
    for row in search(shared, corpus.queries[0], k=20):
        assert row in search(shared, corpus.queries[0], k=20, min_score=row[2])
    assert search(shared, corpus.queries[0], min_score=100) == []


@pytest.mark.parametrize("dim", [48, 51, 129])
def test_dimensions_that_do_not_fill_their_bytes(database: pgretrieval.RetrievalDatabase, connection: Connection, dim: int):
    """Padding bits are ignored."""
    docs = database.create_collection("docs", bits=2)
    docs.add(passages(60), vectors=clustered(60, dim=dim, seed=3))
    docs.build()
    for query in clustered(3, dim=dim, seed=4, tokens=(5, 5)):
        expected = docs.search(vectors=query, candidates=60, pruning=60)
        found = search(connection, query, candidates=60)
        assert [row[1] for row in found] == [hit.id for hit in expected]
        assert [row[2] for row in found] == pytest.approx([hit.score for hit in expected], abs=2e-5)


def test_defaults_agree_with_an_exact_search(shared: Connection, corpus: Corpus):
    """The defaults find the best passages of an exact search."""
    kept = []
    for query in corpus.queries:
        exact = {row[1] for row in search(shared, query, "kept", candidates=300)}
        kept.append(len(exact & {row[1] for row in search(shared, query, "kept")}) / 10)
    assert np.mean(kept) >= 0.95


def test_a_collection_without_an_index_is_searched_exactly(
    database: pgretrieval.RetrievalDatabase, connection: Connection, corpus: Corpus
):
    """Before the first build, all passages are compared."""
    database.create_collection("docs").add(corpus.passages, vectors=corpus.vectors)
    query = corpus.queries[0]
    scores = [maxsim(query, rows) for rows in corpus.vectors]
    found = search(connection, query, k=5)
    assert [row[1] for row in found] == [f"p{place}" for place in np.argsort(scores)[::-1][:5]]
    assert [row[0] for row in search(connection, query, k=2, filter="$.number == 7")] == [1]


def test_all_columns(shared: Connection, corpus: Corpus):
    """All columns of the contract exist in order."""
    cursor = shared.execute("select * from pgretrieval.search('docs', %s::vector[], k => 1)", [vector_array(corpus.queries[0])])
    assert [column.name for column in cursor.description or []] == ["rank", "id", "score", "title", "body", "metadata"]
    rank, key, _, title, body, metadata = cursor.fetchone()
    number = int(key[1:])
    assert (rank, title, body, metadata) == (1, f"title {number}", f"text of passage {number}", {"number": number})


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"filter": "$.number >= 290"}, {f"p{number}" for number in range(290, 300)}),
        ({"filter": '$.number == 7 || $.title == "no"'}, {"p7"}),
        ({"filter": "$.nothing == 1"}, set()),
        ({"filter": "$.number < 5", "among": ["p1", "p2", "p200", "nobody"]}, {"p1", "p2"}),
        ({"among": []}, set()),
    ],
)
@pytest.mark.parametrize("name", ["docs", "kept"])
def test_filters_come_before_candidates(shared: Connection, corpus: Corpus, options, expected, name: str):
    """All matches are found under a filter."""
    for query in corpus.queries[:3]:
        assert {row[1] for row in search(shared, query, name, k=20, **options)} == expected


def test_a_search_reads_only_and_stays_in_its_transaction(make, connection: Connection, corpus: Corpus):
    """A search writes nothing, sets no parameters and does not end the transaction."""
    make()
    with connection.transaction():
        connection.execute("set transaction read only")
        connection.execute("set local hnsw.ef_search = 77")
        assert len(search(connection, corpus.queries[0])) == 10
        assert connection.execute("show hnsw.ef_search").fetchone() == ("77",)
        assert connection.execute("show hnsw.iterative_scan").fetchone() == ("off",)


def test_rows_of_the_same_transaction_are_found(make, connection: Connection, corpus: Corpus):
    """Rows of the same transaction are found, and not after a rollback."""
    make()
    query = corpus.queries[0]
    with connection.transaction(force_rollback=True):
        connection.execute("select pgretrieval.add_passage('docs', 'mine', 'text', %s::vector[])", [vector_array(query)])
        assert search(connection, query, k=1)[0][1] == "mine"
    assert search(connection, query, k=1)[0][1] != "mine"


def test_a_hostile_search_path_changes_nothing(make, connection: Connection, corpus: Corpus):
    """Objects earlier on the search path are not used."""
    make()
    before = search(connection, corpus.queries[0], filter="$.number < 100")
    connection.execute("create schema hostile")
    connection.execute("create table hostile.passage (like pgretrieval.passage)")
    connection.execute("create function hostile.unnest(anyarray) returns setof integer language sql as 'select 666'")
    connection.execute("create function hostile.cardinality(anyarray) returns integer language sql as 'select 0'")
    connection.execute("create function hostile.format(text, variadic \"any\") returns text language internal as 'text_format_nv'")
    connection.execute("create function hostile.neg(vector, vector) returns float8 language sql as 'select 1.0::float8'")
    connection.execute("create operator hostile.<#> (function = hostile.neg, leftarg = vector, rightarg = vector)")
    connection.execute("set search_path = hostile, public, pg_catalog")
    assert search(connection, corpus.queries[0], filter="$.number < 100") == before


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("select * from pgretrieval.search('nobody', '{\"[1]\"}'::vector[])", "no collection 'nobody'"),
        ("select * from pgretrieval.search(null, '{\"[1]\"}'::vector[])", "no collection null"),
        ("select * from pgretrieval.search('docs', null)", "the vectors of the query are not a list with at least one token"),
        (
            "select * from pgretrieval.search('docs', '{}'::vector[])",
            "the vectors of the query are not a list with at least one token",
        ),
        (
            "select * from pgretrieval.search('docs', array['[1,2]'::vector])",
            r"the vectors of the query have 2 dimensions \(first at token 1\), but the collection has 64",
        ),
        (
            "select * from pgretrieval.search('docs', array[null]::vector[])",
            r"the vectors of the query contain null \(first at token 1\)",
        ),
        (
            "select * from pgretrieval.search('docs', array[array_fill(0, array[64])::vector])",
            r"contain a zero vector \(first at token 1\), which has no direction",
        ),
        ("select * from pgretrieval.search('docs', array[array_fill(1, array[64])::vector], 0)", "k is 0"),
        ("select * from pgretrieval.search('docs', array[array_fill(1, array[64])::vector], probes => 0)", "probes is 0"),
        ("select * from pgretrieval.search('docs', array[array_fill(1, array[64])::vector], candidates => 9)", "candidates is 9"),
        (
            "select * from pgretrieval.search('docs', array[array_fill(1, array[64])::vector], reduction => 'max')",
            "reduction is 'max'",
        ),
        (
            "select * from pgretrieval.search('docs', array[array_fill(1, array[64])::vector], min_score => 'NaN')",
            "min_score is NaN",
        ),
        (
            "select * from pgretrieval.search('docs', array[array_fill(1, array[64])::vector], min_score => '-inf')",
            "min_score is -Inf",
        ),
        (
            "select * from pgretrieval.search('docs', array[array_fill(1, array[64])::vector], min_score => 1e39)",
            r"min_score is 1e\+39",
        ),
        ("select * from pgretrieval.text_search('docs', 'text', min_score => 'inf')", "min_score is Infinity"),
        ("select * from pgretrieval.hybrid_search('docs', null, 'text', min_score => 'inf')", "min_score is Infinity"),
        ("select pgretrieval.stats('nobody')", "no collection 'nobody'"),
    ],
)
def test_errors_name_the_value(shared: Connection, statement: str, message: str):
    """Invalid arguments raise errors that name the value."""
    with pytest.raises(psycopg.Error, match=message):
        shared.execute(statement)


@pytest.mark.parametrize("kind", ["vector", "halfvec"])
def test_maxsim_is_its_definition(connection: Connection, kind: str):
    """MaxSim is the sum over query tokens of the highest product."""
    document, query = clustered(2, seed=5)
    (found,) = connection.execute(
        f"select pgretrieval.maxsim(%s::{kind}[], %s::vector[])", [vector_array(document), vector_array(query)]
    ).fetchone()
    assert found == pytest.approx(maxsim(query, document), abs=1e-5 if kind == "vector" else 5e-3)


def test_collections_and_stats(make, connection: Connection):
    """The view and stats describe the collection."""
    make("first")
    make("second", bits=2, keep_vectors=True)
    rows = connection.execute("select name, dim, bits, keep_vectors, built from pgretrieval.collections order by name").fetchall()
    assert rows == [("first", 64, 4, False, True), ("second", 64, 2, True, True)]
    stats = connection.execute("select pgretrieval.stats(name) from pgretrieval.collections order by name").fetchall()
    assert [(row[0]["score_kind"], row[0]["passages"]) for row in stats] == [("decoded", 300), ("vectors", 300)]
