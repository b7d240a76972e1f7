"""Dense vectors, stored by the collection or in a table of the application."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import psycopg
import pytest

import pgretrieval
from pgretrieval.errors import ConfigError, DimensionMismatchError, InputError, VectorError
from pgretrieval.types import Float32Array
from tests.fixtures.collections import Corpus
from tests.support.sql import vector_array
from tests.support.vectors import clustered, passages

pytestmark = pytest.mark.both_versions

Connection = psycopg.Connection[Any]
DENSE_DIM = 24


def directions(count: int, seed: int) -> Float32Array:
    """(count, 24) rows of any length."""
    return np.random.default_rng(seed).standard_normal((count, DENSE_DIM)).astype(np.float32)


def text(vector: Float32Array) -> str:
    return "[" + ",".join(repr(float(value)) for value in vector) + "]"


def nearest(connection: Connection, query: Float32Array, n: int = 10, filter: str | None = None, among: list[str] | None = None):
    """Keys and scores of pgretrieval.candidates_by_dense."""
    return connection.execute(
        "select key, score from pgretrieval.candidates_by_dense("
        "    pgretrieval.known_collection('docs'), %s::vector, %s, %s::jsonpath, %s, null, false) as found"
        " join pgretrieval.passage using (passage_id) order by score desc, passage_id",
        [text(query), n, filter, among],
    ).fetchall()


def cosine(query: Float32Array, rows: Float32Array) -> Float32Array:
    return rows @ query / np.linalg.norm(rows, axis=1) / np.linalg.norm(query)


@pytest.fixture(scope="module")
def own() -> Float32Array:
    return directions(300, 5)


@pytest.fixture
def docs(database: pgretrieval.RetrievalDatabase, corpus: Corpus, own: Float32Array) -> pgretrieval.Collection:
    """The corpus with stored dense vectors, not built yet."""
    collection = database.create_collection("docs", dense="kept")
    collection.add(corpus.passages, vectors=corpus.vectors, dense=own)
    return collection


def test_kept_vectors_are_compared_by_cosine(docs: pgretrieval.Collection, connection: Connection, own: Float32Array):
    """The order is by cosine, with and without the index."""
    for _ in range(2):
        for query in directions(5, 6):
            scores = cosine(query, own)
            best = np.argsort(-scores)[:10]
            unit = query / np.linalg.norm(query)
            assert nearest(connection, unit) == [(f"p{place}", pytest.approx(scores[place], abs=2e-3)) for place in best]
        docs.build()


@pytest.mark.parametrize(
    ("filter", "kept"), [("$.number < 200", 200), ("$.number < 40", 40), ("$.number < 4", 4), ("$.no == 1", 0)]
)
def test_restrictions_come_first(docs: pgretrieval.Collection, connection: Connection, own: Float32Array, filter: str, kept: int):
    """Restrictions apply before the nearest are chosen."""
    docs.build()
    query = directions(1, 6)[0]
    best = np.argsort(-cosine(query, own[:kept]))[:10].tolist()
    assert [key for key, _ in nearest(connection, query, filter=filter)] == [f"p{place}" for place in best]
    among = [f"p{place}" for place in range(0, kept, 2)]
    assert [key for key, _ in nearest(connection, query, n=300, filter=filter, among=among)] == [
        f"p{place}" for place in np.argsort(-cosine(query, own[:kept])).tolist() if place % 2 == 0
    ]


def test_sql_adds_the_same_bytes_as_python(docs: pgretrieval.Collection, connection: Connection, own: Float32Array):
    """SQL and Python store the same bytes."""
    for number, vector in enumerate(own[:20]):
        connection.execute(
            "select pgretrieval.add_passage('docs', %s, 'again', %s::vector[], dense => %s::vector)",
            [f"again{number}", vector_array(clustered(1, seed=number)[0]), text(vector)],
        )
    pairs = connection.execute(
        "select mine.vector::text, theirs.vector::text"
        " from pgretrieval.passage as p join pgretrieval.dense_vector as mine using (collection_id, passage_id)"
        " join pgretrieval.passage as q on q.key = replace(p.key, 'again', 'p')"
        " join pgretrieval.dense_vector as theirs on theirs.passage_id = q.passage_id"
        " where p.key like 'again%'"
    ).fetchall()
    assert len(pairs) == 20
    assert all(one == other for one, other in pairs)


def dense_search(connection: Connection, query: Float32Array, k: int = 10, **options: Any) -> list[tuple[Any, ...]]:
    """(rank, id, score) of the hits."""
    named = "".join(f", {option} => %({option})s" for option in options)
    statement = f"select rank, id, score from pgretrieval.dense_search('docs', %(query)s::vector, %(k)s{named})"
    return connection.execute(statement, {"query": text(query), "k": k, **options}).fetchall()


def ranked(hits: list[pgretrieval.Hit]) -> list[tuple[int, str, float]]:
    return [(hit.rank, hit.id, hit.score) for hit in hits]


def test_the_best_by_dense_vectors_alone(docs: pgretrieval.Collection, connection: Connection, own: Float32Array):
    """Exactly the best by cosine, in SQL and in Python, before and after a build, of query vectors of any length."""
    for _ in range(2):
        for query in directions(3, 6):
            scores = cosine(query, own)
            found = dense_search(connection, query, 20)
            best = [
                (rank, f"p{place}", pytest.approx(scores[place], abs=2e-3))
                for rank, place in enumerate(np.argsort(-scores)[:20], 1)
            ]
            assert found == best
            assert ranked(docs.dense_search(dense=query, k=20)) == found
            least = found[6][2]
            assert dense_search(connection, query, 20, min_score=least) == found[:7]
            assert ranked(docs.dense_search(dense=query, k=20, min_score=least)) == found[:7]
            assert docs.dense_search(dense=query, min_score=1.1) == []
        docs.build()


@pytest.mark.parametrize("kept", [200, 40, 4, 0])
def test_the_best_by_dense_vectors_among_others(docs: pgretrieval.Collection, connection: Connection, own: Float32Array, kept: int):
    """All that match come, the best first, if they are fewer than k."""
    docs.build()
    query = directions(1, 6)[0]
    best = [f"p{place}" for place in np.argsort(-cosine(query, own[:kept])).tolist()]
    even = [f"p{place}" for place in range(0, kept, 2)]
    for wanted, restricted, in_python in (
        (best, {"filter": f"$.number < {kept}"}, {"where": {"number": {"$lt": kept}}}),
        ([key for key in best if key in even], {"among": even}, {"among": even}),
    ):
        found = [row[1] for row in dense_search(connection, query, 300, **restricted)]
        assert found == [hit.id for hit in docs.dense_search(dense=query, k=300, **in_python)]
        assert (found[:10], sorted(found)) == (wanted[:10], sorted(wanted))  # nearly equal ones may swap in half precision


def test_all_columns_of_a_dense_search(docs: pgretrieval.Collection, connection: Connection, own: Float32Array):
    """Hits have the columns of other searches."""
    cursor = connection.execute("select * from pgretrieval.dense_search('docs', %s::vector, k => 1)", [text(own[7])])
    assert [column.name for column in cursor.description or []] == ["rank", "id", "score", "title", "body", "metadata"]
    found = cursor.fetchone()
    assert found == (1, "p7", pytest.approx(1, abs=1e-3), "title 7", "text of passage 7", {"number": 7})
    assert docs.dense_search(dense=own[7], k=1) == [pgretrieval.Hit(*found)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("'nobody', '[1]'::vector", "no collection 'nobody'"),
        ("'none', '[1]'::vector", "collection 'none' has no dense vectors"),
        ("'docs', null", "the dense vector of the query is null"),
        ("'docs', '[1]'::vector", "the dense vector of the query has 1 dimensions, but the collection's have 24"),
        ("'docs', array_fill(0, array[24])::vector", "the dense vector of the query is zero and has no direction"),
        ("'docs', array_fill(1, array[24])::vector, 0", "k is 0"),
        ("'docs', array_fill(1, array[24])::vector, filter => '$.n'", "no predicate"),
        ("'docs', array_fill(1, array[24])::vector, min_score => 'NaN'", "min_score is NaN"),
    ],
)
def test_wrong_arguments_of_a_dense_search(
    docs: pgretrieval.Collection, database: pgretrieval.RetrievalDatabase, connection: Connection, arguments: str, message: str
):
    """Wrong arguments raise errors that name the value."""
    database.create_collection("none", dense=None)
    with pytest.raises(psycopg.Error, match=message) as caught:
        connection.execute(f"select * from pgretrieval.dense_search({arguments})")
    assert caught.value.sqlstate in ("PGR04", "PGR05")


def test_deleted_passages_do_not_shorten_a_dense_search(docs: pgretrieval.Collection, connection: Connection, own: Float32Array):
    """Entries of the index whose passages are gone are passed over, and k others come."""
    docs.build()
    query = directions(1, 6)[0]
    order = np.argsort(-cosine(query, own)).tolist()
    docs.delete([f"p{place}" for place in order[:280]])
    assert [hit.id for hit in docs.dense_search(dense=query, k=20)] == [f"p{place}" for place in order[280:]]


def test_a_deleted_passage_is_gone(docs: pgretrieval.Collection, connection: Connection, own: Float32Array):
    """A deleted passage's vector is removed and takes no place among the nearest."""
    docs.build()
    connection.execute("select pgretrieval.delete_passage('docs', 'p7')")
    assert "p7" not in [key for key, _ in nearest(connection, own[7])]
    assert connection.execute("select count(*) from pgretrieval.dense_vector").fetchone() == (299,)


def test_a_dropped_collection_leaves_nothing(
    docs: pgretrieval.Collection, database: pgretrieval.RetrievalDatabase, connection: Connection
):
    """Partitions of dense vectors exist only for collections that store them, and are dropped."""
    found = "select count(*) from pg_inherits where inhparent = 'pgretrieval.dense_vector'::regclass"
    database.create_collection("none", dense=None)
    assert connection.execute(found).fetchone() == (1,)
    database.drop_collection("docs")
    assert connection.execute(found).fetchone() == (0,)


@pytest.mark.parametrize("key_type", ["text", "integer", "bigint", "uuid", "char(40)"])
@pytest.mark.parametrize("vector_type", ["vector", "halfvec"])
def test_a_table_of_the_applications_own(
    database: pgretrieval.RetrievalDatabase, connection: Connection, own: Float32Array, key_type: str, vector_type: str
):
    """Ids of any type and half precision are joined; rows without a vector or a passage are skipped."""
    connection.execute('create schema "Of App"')
    connection.execute(f'create table "Of App"."Art.icles" ("Id" {key_type} primary key, "Emb edding" {vector_type}({DENSE_DIM}))')
    keys = [str(number) if key_type != "uuid" else f"00000000-0000-0000-0000-{number:012}" for number in range(300)]
    rows = [(key, None if key == keys[5] else text(vector)) for key, vector in zip(keys, own, strict=True)]
    connection.cursor().executemany('insert into "Of App"."Art.icles" values (%s, %s)', rows)
    docs = database.create_collection("docs", dense='"Of App"."Art.icles"."Emb edding"')
    held = [passage | {"id": key} for passage, key in zip(passages(250), keys, strict=False)] + [{"id": "other", "text": "no row"}]
    docs.add(held, vectors=clustered(251, seed=1))
    query = directions(1, 6)[0]
    scores = cosine(query, own[:250])
    scores[5] = -3
    best = np.argsort(-scores).tolist()[:249]
    found = nearest(connection, query, n=300)
    assert dict(found) == {keys[place]: pytest.approx(scores[place], abs=3e-3) for place in best}
    assert [key for key, _ in found[:10]] == [keys[place] for place in best[:10]]
    of_some = connection.execute(
        "select key, score from pgretrieval.candidates_by_dense(pgretrieval.known_collection('docs'), %s::vector, null, null, null,"
        " array(select passage_id from pgretrieval.passage where metadata @@ '$.number < 10' or key = 'other'), false) as f"
        " join pgretrieval.passage using (passage_id)",
        [text(query)],
    ).fetchall()
    assert dict(of_some) == {keys[place]: pytest.approx(scores[place], abs=3e-3) for place in range(10) if place != 5}


@pytest.mark.parametrize("operator", ["ip", "l2", "cosine"])
def test_the_index_of_the_column_says_how_to_compare(
    database: pgretrieval.RetrievalDatabase, connection: Connection, own: Float32Array, operator: str
):
    """The operator of the column's index is used."""
    connection.execute(f"create table public.articles (id text primary key, embedding vector({DENSE_DIM}))")
    connection.execute(f"create index on public.articles using hnsw (embedding vector_{operator}_ops)")
    rows = [(f"p{number}", text(vector)) for number, vector in enumerate(own)]
    connection.cursor().executemany("insert into public.articles values (%s, %s)", rows)
    docs = database.create_collection("docs", dense="public.articles.embedding")
    docs.add(passages(300), vectors=clustered(300, seed=1))
    docs.build()
    query = directions(1, 6)[0]
    scores = {"ip": own @ query, "l2": -np.linalg.norm(own - query, axis=1), "cosine": cosine(query, own)}[operator]
    best = np.argsort(-scores)[:10].tolist()
    assert nearest(connection, query) == [(f"p{place}", pytest.approx(scores[place], abs=1e-4)) for place in best]
    assert [row[1:] for row in dense_search(connection, query)] == nearest(connection, query)
    assert ranked(docs.dense_search(dense=query)) == dense_search(connection, query)
    if operator == "cosine":
        assert docs.dense_search(dense=own[7], k=1)[0].score == pytest.approx(1)


def test_vectors_without_a_cosine_are_left_out(database: pgretrieval.RetrievalDatabase, connection: Connection, own: Float32Array):
    """A vector of length zero in the application's table has no score, and does not spoil others'."""
    connection.execute(f"create table public.articles (id text primary key, embedding vector({DENSE_DIM}))")
    rows = [(f"p{number}", text(vector if number != 5 else 0 * vector)) for number, vector in enumerate(own[:20])]
    connection.cursor().executemany("insert into public.articles values (%s, %s)", rows)
    docs = database.create_collection("docs", dense="public.articles.embedding")
    vectors = clustered(20, seed=1)
    docs.add(passages(20), vectors=vectors)
    docs.build()
    found = docs.dense_search(dense=own[7], k=20)
    assert {hit.id for hit in found} == {f"p{number}" for number in range(20) if number != 5}
    both = docs.hybrid_search("passage", 20, vectors=vectors[3], dense=own[7])
    assert len(both) == 20
    assert np.isfinite([hit.score for hit in both]).all()


def test_a_table_that_was_dropped(database: pgretrieval.RetrievalDatabase, connection: Connection):
    """The error names the dropped table, and searches without dense vectors work."""
    connection.execute("create table public.articles (id text primary key, embedding vector(3))")
    docs = database.create_collection("docs", dense="public.articles.embedding")
    docs.add(passages(10), vectors=clustered(10, seed=1))
    docs.build()
    connection.execute("drop table public.articles")
    query = clustered(1, seed=2)[0]
    with pytest.raises(ConfigError, match=r"'docs' takes dense vectors from public.articles.embedding, by id, which is not there"):
        docs.hybrid_search("passage 7", vectors=query, dense=[1, 2, 3])
    assert docs.hybrid_search("passage 7", vectors=query)[0].id == "p7"


def test_ids_of_a_type_that_runs_code_are_refused(database: pgretrieval.RetrievalDatabase, connection: Connection, postgres: Any):
    """Id types with user-defined casts are refused."""
    role, _ = postgres.create_role()
    connection.execute("create table vectors (id text primary key, own vector(3))")
    database.create_collection("docs", dense="public.vectors.own")
    source = "select pgretrieval.dense_source(pgretrieval.known_collection('docs'))"
    connection.execute(source)
    connection.execute("create type public.odd as enum ('a')")
    connection.execute(f'alter type public.odd owner to "{role}"')
    connection.execute("alter table vectors alter column id type public.odd using id::public.odd")
    with pytest.raises(psycopg.errors.DatabaseError, match="column id, are of type odd, whose casts may be functions") as refused:
        connection.execute(source)
    assert refused.value.sqlstate == "PGR05"
    connection.execute("drop table vectors; drop type public.odd")


def test_a_column_of_several_dimensions(database: pgretrieval.RetrievalDatabase, connection: Connection, corpus: Corpus):
    """Mixed dimensions raise an error that names the column."""
    connection.execute("create table public.mixed (id text primary key, embedding vector)")
    connection.execute("insert into public.mixed values ('p1', '[1,2,3]'), ('p2', '[1,2]')")
    docs = database.create_collection("docs", dense="public.mixed.embedding")
    docs.add(corpus.passages, vectors=corpus.vectors)
    docs.build()
    with pytest.raises(ConfigError, match=r"public.mixed.embedding has vectors of other dimensions than .* 3.*one dimension"):
        docs.hybrid_search("passage 7", vectors=corpus.queries[0], dense=[1, 2, 3])
    for arguments in ("5, null, null, null, false", "null, null, null, '{1,2,3}', false"):
        call = f"pgretrieval.candidates_by_dense(held, '[1,2,3]', {arguments})"
        with pytest.raises(psycopg.errors.DatabaseError) as caught:
            connection.execute(f"select found.* from pgretrieval.known_collection('docs') as held, {call} as found")
        assert caught.value.sqlstate == "PGR05"
        connection.rollback()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dense": "articles.embedding"}, r"dense is 'articles.embedding'.*Give schema.table.column"),
        ({"dense": "public.nothing.embedding"}, r"public.nothing.embedding.*no column of type vector"),
        ({"dense": "public.articles.nothing"}, r"public.articles.nothing.*no column of type vector"),
        ({"dense": "public.articles.title"}, r"public.articles.title.*no column of type vector"),
        ({"dense": "public.articles; drop table x"}, r"no column of type vector"),
        ({"dense": "public.keyless.embedding"}, r"dense_key is null.*keyless.*primary key of one column"),
        ({"dense": "public.articles.embedding", "dense_key": "nothing"}, r"dense_key is 'nothing'.*articles"),
        ({"dense": "kept", "dense_key": "id"}, r"dense_key is 'id'.*names no table"),
        ({"title_weight": -1.0}, r"title_weight is -1.0"),
        ({"title_weight": float("nan")}, r"title_weight is nan"),
    ],
)
def test_invalid_columns_are_refused(
    database: pgretrieval.RetrievalDatabase, connection: Connection, options: dict[str, Any], message: str
):
    """Invalid columns are refused at creation."""
    connection.execute("create table public.articles (id int primary key, title text, embedding vector(3))")
    connection.execute("create table public.keyless (a int, b int, embedding vector(3), primary key (a, b))")
    with pytest.raises(ConfigError, match=message):
        database.create_collection("docs", **options)
    assert database.list_collections() == []


def test_adds_must_fit(docs: pgretrieval.Collection, database: pgretrieval.RetrievalDatabase, own: Float32Array):
    """Each passage needs a dense vector of the right dimension."""
    record, vectors = [{"id": "new", "text": "new"}], clustered(1, seed=9)
    none = database.create_collection("none", dense=None)
    with pytest.raises(ConfigError, match=r"'none' stores no dense vectors.*dense=\"kept\""):
        none.add(record, vectors=vectors, dense=own[:1])
    with pytest.raises(InputError, match=r"'docs' stores dense vectors; give dense="):
        docs.add(record, vectors=vectors)
    with pytest.raises(InputError, match="dense= ended before passage 'new'"):
        docs.add(record, vectors=vectors, dense=[])
    with pytest.raises(InputError, match="more arrays in dense= than passages"):
        docs.add(record, vectors=vectors, dense=own[:2])
    with pytest.raises(DimensionMismatchError, match="dense vectors have 23 dimensions, but those of collection 'docs' have 24"):
        docs.add(record, vectors=vectors, dense=own[:1, :23])
    for wrong in (np.zeros(24), np.full(24, np.nan), np.ones((2, 12)), "no"):
        with pytest.raises(VectorError, match="dense vector of passage 'new'"):
            docs.add(record, vectors=vectors, dense=[wrong])
    assert docs.stats()["passages"] == 300
    assert docs.stats()["dense_dim"] == 24


@pytest.mark.parametrize(
    ("name", "dense", "message"),
    [
        ("docs", None, "'docs' stores dense vectors, and passage 'new' has none"),
        ("docs", "[1,2,3]", "the dense vector of passage 'new' has 3 dimensions, but the collection's have 24"),
        ("docs", text(np.zeros(24, dtype=np.float32)), "the dense vector of passage 'new' is zero and has no direction"),
        ("none", "[1,2,3]", "'none' stores no dense vectors"),
    ],
)
def test_adds_in_sql_must_fit(
    docs: pgretrieval.Collection,
    database: pgretrieval.RetrievalDatabase,
    connection: Connection,
    name: str,
    dense: str | None,
    message: str,
):
    database.create_collection("none", dense=None)
    with pytest.raises(psycopg.Error, match=message) as caught:
        connection.execute(
            "select pgretrieval.add_passage(%s, 'new', 'new', %s::vector[], dense => %s::vector)",
            [name, vector_array(clustered(1, seed=9)[0]), dense],
        )
    assert caught.value.sqlstate == "PGR05"


@pytest.fixture(scope="module")
def small(module_database: pgretrieval.RetrievalDatabase, corpus: Corpus, own: Float32Array) -> pgretrieval.Collection:
    """A hundred passages, which every search compares completely, for tests that only read."""
    collection = module_database.create_collection("docs", keep_vectors=True, dense="kept")
    words = ["river", "sea", "lake", "rain", "snow"]
    held = [passage | {"text": " ".join(words[: 1 + number % 5])} for number, passage in enumerate(corpus.passages[:100])]
    collection.add(held, vectors=corpus.vectors[:100], dense=own[:100])
    collection.build()
    return collection


@pytest.fixture
def reading(small: pgretrieval.Collection) -> Iterator[Connection]:
    """A connection to the database of `small`."""
    with psycopg.connect(small._database.url, autocommit=True) as opened:
        yield opened


def hybrid(
    connection: Connection, query: str | None, words: str | None, dense: str | None, **options: Any
) -> list[tuple[str, float]]:
    named = "".join(f", {option} => %({option})s" for option in options)
    statement = (
        "select id, score from pgretrieval.hybrid_search('docs', %(query)s::vector[], %(words)s,"
        f" query_dense => %(dense)s::vector{named})"
    )
    return connection.execute(statement, {"query": query, "words": words, "dense": dense, **options}).fetchall()


@pytest.mark.parametrize("fusion", ["score", "rank"])
@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0), (0.5, 2.0, 3.0), (0.0, 0.0, 1.0)])
def test_hybrid_in_sql_is_hybrid_in_python(
    small: pgretrieval.Collection, reading: Connection, corpus: Corpus, fusion: str, weights: tuple[float, float, float]
):
    """SQL and Python return the same hits and scores."""
    options = {"fusion": fusion, "weights": list(weights), "k": 100}
    near = 5e-3 if fusion == "score" else 1e-3  # nearly equal scores may swap
    for query, dense in zip(corpus.queries, directions(10, 6), strict=True):
        for given in (dense, None):
            expected = small.hybrid_search("lake rain", 100, vectors=query, dense=given, fusion=fusion, weights=weights)
            found = hybrid(reading, vector_array(query), "lake rain", None if given is None else text(given), **options)
            assert dict(found) == {hit.id: pytest.approx(hit.score, abs=near) for hit in expected}


def test_hybrid_of_what_is_given(small: pgretrieval.Collection, reading: Connection, corpus: Corpus, own: Float32Array):
    """Null arguments are left out of the fusion."""
    query, dense = corpus.queries[0], directions(1, 6)[0]
    late = [hit.id for hit in small.search(vectors=query)]
    assert [key for key, _ in hybrid(reading, vector_array(query), None, None)] == late
    best = [f"p{place}" for place in np.argsort(-cosine(dense, own[:100]))[:10]]
    assert [key for key, _ in hybrid(reading, None, None, text(dense))] == best
    assert [key for key, _ in hybrid(reading, None, "desert", None)] == []
    words = [hit.id for hit in small.text_search("rain")]
    assert [key for key, _ in hybrid(reading, None, "rain", None)] == words
    assert hybrid(reading, None, None, None) == []


@pytest.mark.parametrize("fusion", ["score", "rank"])
def test_the_least_score_of_words_and_of_all(small: pgretrieval.Collection, reading: Connection, corpus: Corpus, fusion: str):
    """Searches by words and hybrid searches leave out lower scores, as in Python."""
    query, dense = corpus.queries[0], directions(1, 6)[0]
    every = hybrid(reading, vector_array(query), "lake rain", text(dense), fusion=fusion)
    for _, least in every:
        expected = [row for row in every if row[1] >= least]
        assert hybrid(reading, vector_array(query), "lake rain", text(dense), fusion=fusion, min_score=least) == expected
    statement = "select id, score from pgretrieval.text_search('docs', 'lake rain', 100, min_score => %s)"
    scores = sorted({score for _, score in reading.execute(statement, [None]).fetchall()})
    assert len(scores) > 1
    for least in scores:
        found = reading.execute(statement, [least]).fetchall()
        assert found == [(hit.id, pytest.approx(hit.score)) for hit in small.text_search("lake rain", 100, min_score=least)]
        assert min(score for _, score in found) == least


def test_hybrid_without_words(database: pgretrieval.RetrievalDatabase, corpus: Corpus, own: Float32Array):
    """A collection without a language fuses the other scores."""
    docs = database.create_collection("wordless", language=None, dense="kept")
    docs.add(corpus.passages[:100], vectors=corpus.vectors[:100], dense=own[:100])
    docs.build()
    dense = directions(1, 6)[0]
    found = docs.hybrid_search("passage 7", 100, vectors=corpus.queries[0], dense=dense, weights=(0.0, 9.0, 1.0))
    assert [hit.id for hit in found[:10]] == [f"p{place}" for place in np.argsort(-cosine(dense, own[:100]))[:10]]


@pytest.mark.parametrize("kept", [30, 3])
def test_hybrid_among_what_matches(
    small: pgretrieval.Collection, reading: Connection, corpus: Corpus, own: Float32Array, kept: int
):
    """Filters apply to words and dense vectors, too."""
    query, dense = corpus.queries[0], directions(1, 6)[0]
    expected = small.hybrid_search("lake", 50, vectors=query, dense=dense, where={"number": {"$lt": kept}})
    assert {hit.id for hit in expected} == {f"p{place}" for place in range(kept)}
    found = hybrid(reading, vector_array(query), "lake", text(dense), k=50, filter=f"$.number < {kept}")
    assert [score for _, score in found] == pytest.approx([hit.score for hit in expected], abs=5e-3)


@pytest.mark.parametrize(
    ("query", "options", "message"),
    [
        ("[1,2]", {}, "the dense vector of the query has 2 dimensions, but the collection's have 24"),
        (None, {"fusion": "sum"}, "fusion is 'sum'"),
        (None, {"fusion": None}, "fusion is null"),
        (None, {"weights": [1.0, 1.0]}, "weights are {1,1}"),
        (None, {"weights": [1.0, 1.0, None]}, "weights are {1,1,NULL}"),
        (None, {"rank_constant": -1}, "rank_constant is -1"),
    ],
)
def test_hybrid_arguments_that_cannot_be(
    small: pgretrieval.Collection, reading: Connection, query: str | None, options: dict[str, Any], message: str
):
    with pytest.raises(psycopg.Error, match=message) as caught:
        hybrid(reading, None, "rain", query, **options)
    assert caught.value.sqlstate == "PGR05"


def test_a_collection_without_dense_vectors(database: pgretrieval.RetrievalDatabase, connection: Connection):
    database.create_collection("docs", dim=64)
    with pytest.raises(psycopg.Error, match="collection 'docs' has no dense vectors"):
        hybrid(connection, None, "rain", "[1,2]")


def test_dense_key(connection: Connection):
    """The key is the given column, or the primary key."""
    connection.execute("create table public.articles (slug text, id int primary key, embedding vector(3))")
    statement = "select pgretrieval.dense_key('public.articles.embedding', %s)"
    assert connection.execute(statement, [None]).fetchone() == ("id",)
    assert connection.execute(statement, ["slug"]).fetchone() == ("slug",)
    none = "select pgretrieval.dense_key('kept', null), pgretrieval.dense_key(null, null)"
    assert connection.execute(none).fetchone() == (None, None)


def test_checked_dense(docs: pgretrieval.Collection, connection: Connection):
    """Stored vectors are scaled to unit length, and null is accepted."""
    statement = "select vector_norm(pgretrieval.checked_dense(pgretrieval.known_collection('docs'), 'it', %s::vector))"
    assert connection.execute(statement, [text(directions(1, 1)[0])]).fetchone() == (pytest.approx(1),)
    assert connection.execute(statement, [None]).fetchone() == (None,)


def test_dense_source(docs: pgretrieval.Collection, connection: Connection):
    """Every piece of the generated SQL is valid."""
    source, wanted, distance = connection.execute(
        "select source, wanted, distance from pgretrieval.dense_source(pgretrieval.known_collection('docs'))"
    ).fetchone()
    assert (source, "<#>" in distance, "halfvec(24)" in distance) == ("pgretrieval.dense_vector", True, True)
    assert connection.execute(f"select count(*) from {source} as vectors where {wanted}").fetchone() == (300,)


def test_the_vector_index_of_dense_vectors(docs: pgretrieval.Collection, connection: Connection):
    """Candidates come from the vector index."""
    number = connection.execute("select collection_id from pgretrieval.collection").fetchone()[0]
    connection.execute(
        "select pgretrieval.index_vectors('dense_vector_' || %s, dense_dim, 'encoding', 0) from pgretrieval.collection", [number]
    )
    connection.execute("analyze")
    distance, source, wanted = connection.execute(
        "select distance, source, wanted from pgretrieval.dense_source(pgretrieval.known_collection('docs'))"
    ).fetchone()
    query = text(directions(1, 6)[0])
    connection.execute("set enable_seqscan = off")
    plan = connection.execute(
        f"explain (format text) select 1 from {source} as vectors where {wanted}"
        f" order by {distance.replace('$1', repr(query) + '::vector')} limit 5"
    ).fetchall()
    assert any("_hnsw" in line for (line,) in plan)


def test_the_index_finds_nearly_all_of_the_nearest(database: pgretrieval.RetrievalDatabase, connection: Connection):
    """The index scan continues until enough passages match."""
    dense = np.random.default_rng(7).standard_normal((5000, 96)).astype(np.float32)
    docs = database.create_collection("docs", language=None, dense="kept")
    docs.add(passages(5000), vectors=clustered(5000, seed=1, tokens=(1, 1)), dense=dense)
    docs.build()
    found = []
    for query in np.random.default_rng(8).standard_normal((10, 96)).astype(np.float32):
        best = {f"p{place}" for place in np.argsort(-cosine(query, dense))[:10].tolist()}
        found.append(len(best & {key for key, _ in nearest(connection, query, n=64)}) / 10)
    assert np.mean(found) >= 0.9
    many = [hit.id for hit in docs.dense_search(dense=query, k=1500)]  # more than one scan of the index returns
    assert len(set(many)) == 1500
    assert len(set(many) & {f"p{place}" for place in np.argsort(-cosine(query, dense))[:1500].tolist()}) >= 1300
    assert len(docs.dense_search(dense=query, k=10**6)) == 5000
    connection.execute("set hnsw.max_scan_tuples = 100")
    best = {f"p{place}" for place in np.argsort(-cosine(query, dense))[:1500].tolist()}
    assert len(best & {row[1] for row in dense_search(connection, query, 1500)}) >= 1490  # all were compared
