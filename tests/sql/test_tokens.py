"""Searches by retrieved tokens in SQL, compared with the Python client."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

import pgretrieval
from pgretrieval.assets import statements
from pgretrieval.search import xtr
from tests.fixtures.collections import Corpus
from tests.support.sql import vector_array
from tests.support.tokens import EVERYTHING, KINDS, fill

Connection = psycopg.Connection[Any]


@pytest.fixture(scope="module")
def collections(module_database: pgretrieval.RetrievalDatabase, corpus: Corpus) -> dict[str, pgretrieval.Collection]:
    """Collections that tests do not change."""
    return fill(module_database, corpus)


@pytest.fixture
def reading(collections: dict[str, pgretrieval.Collection]) -> Iterator[Connection]:
    """A connection that is rolled back."""
    with psycopg.connect(collections["xtr"]._database.url) as opened:
        yield opened
        opened.rollback()


def search(connection: Connection, name: str, query: Any, function: str = "xtr_search", **options: Any) -> list[tuple[Any, ...]]:
    """(rank, id, score) of the hits."""
    named = "".join(f", {option} => %({option})s" for option in options)
    statement = f"select rank, id, score from pgretrieval.{function}(%(name)s, %(query)s::vector[]{named})"
    return connection.execute(statement, {"name": name, "query": vector_array(query), **options}).fetchall()


def assert_same(found: list[tuple[Any, ...]], hits: list[pgretrieval.Hit]) -> None:
    """Assert equal ranks, ids and scores."""
    assert [row[:2] for row in found] == [(hit.rank, hit.id) for hit in hits]
    assert [row[2] for row in found] == pytest.approx([hit.score for hit in hits], abs=1e-4)


@pytest.mark.parametrize(
    ("knobs", "k"),
    [
        ({}, 10),
        ({"imputation": "warp", "k_tokens": 30}, 10),
        ({"imputation": "zero", "k_tokens": 100, "reduction": "sum"}, 10),
        ({"imputation": 0.25, "k_tokens": 9, "reduction": "mean"}, 10),
        ({"k_tokens": 3}, 300),
        ({"rerank": "none"}, 5),
        ({"min_score": 0.5, "reduction": "mean"}, 100),
    ],
)
@pytest.mark.parametrize("name", KINDS)
def test_hits_and_scores_are_those_of_the_python_client(
    collections: dict[str, pgretrieval.Collection], reading: Connection, corpus: Corpus, name: str, knobs: dict[str, Any], k: int
):
    """SQL and the Python client return the same hits and scores."""
    for query in corpus.queries[:1]:
        given = {**EVERYTHING, **knobs}
        hits = collections[name].search(vectors=query, k=k, **given)
        assert_same(search(reading, name, query, k=k, **{**given, "imputation": str(given.get("imputation", "kth"))}), hits)


@pytest.mark.parametrize("name", KINDS)
def test_search_takes_its_defaults(collections: dict[str, pgretrieval.Collection], reading: Connection, corpus: Corpus, name: str):
    """The usual search function works, with restrictions before retrieval."""
    query, held = corpus.queries[0], collections[name]
    assert_same(search(reading, name, query, "search", probes=10**6), held.search(vectors=query, probes=10**6))
    filtered = search(reading, name, query, "search", probes=10**6, filter="$.number < 55", among=[f"p{n}" for n in range(40, 70)])
    expected = held.search(vectors=query, probes=10**6, where="$.number < 55", among=[f"p{n}" for n in range(40, 70)])
    assert_same(filtered, expected)
    assert {row[1] for row in filtered} == {f"p{number}" for number in range(40, 50)}
    for reduction in ("mean", "sum"):
        least = held.search(vectors=query, probes=10**6, reduction=reduction)[3].score - 1e-4
        found = search(reading, name, query, "search", probes=10**6, reduction=reduction, min_score=least)
        assert_same(found, held.search(vectors=query, probes=10**6, reduction=reduction, min_score=least))
        assert 4 <= len(found) < 10


@pytest.mark.parametrize("name", KINDS)
def test_k_passages_come_where_so_many_match(reading: Connection, corpus: Corpus, name: str):
    """A search returns k passages if as many match."""
    found = search(reading, name, corpus.queries[1], probes=1, k_tokens=1, k=400)
    assert len(found) == 290
    assert len(search(reading, name, corpus.queries[1], probes=1, k_tokens=1, k=7, filter="$.number == 9 || $.number == 290")) == 2


@pytest.mark.parametrize("name", KINDS)
def test_hybrid_searches_are_those_of_the_python_client(
    collections: dict[str, pgretrieval.Collection],
    reading: Connection,
    corpus: Corpus,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
):
    """Passages from words have the same token scores as in Python."""
    monkeypatch.setattr(xtr, "_READ_PER_RETRIEVED", 10**6)  # the vector index may return others
    hits = collections[name].hybrid_search("passage 77", vectors=corpus.queries[0])
    found = reading.execute(
        "select rank, id, score from pgretrieval.hybrid_search(%s, %s::vector[], 'passage 77', probes => 1000000)",
        [name, vector_array(corpus.queries[0])],
    ).fetchall()
    assert {row[1] for row in found} == {hit.id for hit in hits}
    assert [row[2] for row in found] == pytest.approx([hit.score for hit in hits], abs=1e-3)


@pytest.mark.both_versions
@pytest.mark.parametrize("name", KINDS)
def test_passages_added_and_deleted_in_sql(
    database: pgretrieval.RetrievalDatabase, connection: Connection, corpus: Corpus, name: str
):
    """Passages added in SQL have the client's postings."""
    docs = database.create_collection(name, **KINDS[name])
    docs.add(corpus.passages[:100], vectors=corpus.vectors[:100])
    docs.build()
    connection.execute(
        "select pgretrieval.add_passage(%s, 'new', 'a new text', %s::vector[])", [name, vector_array(corpus.vectors[200])]
    )
    assert docs.search(vectors=corpus.vectors[200], k=1)[0].id == "new"
    assert docs.check() == []
    by_client = database.create_collection("by client", **KINDS[name])
    by_client.add(corpus.passages[:100], vectors=corpus.vectors[:100])
    by_client.build()
    by_client.add([{"id": "new", "text": "a new text"}], vectors=[corpus.vectors[200]])
    rows = [
        connection.execute(
            """select centroid_id, cardinality(passage_ids), positions, residuals from pgretrieval.posting_code
               where collection_id = %s and segment > 0 order by centroid_id""",
            [one._row.collection_id],
        ).fetchall()
        for one in (docs, by_client)
    ]
    assert rows[0] == rows[1]
    assert connection.execute("select pgretrieval.delete_passage(%s, 'new')", [name]).fetchone() == (True,)
    assert "new" not in {hit.id for hit in docs.search(vectors=corpus.vectors[200], k=100)}
    docs.compact()
    assert docs.check() == []


def test_before_the_first_build_all_passages_are_compared(
    database: pgretrieval.RetrievalDatabase, connection: Connection, corpus: Corpus
):
    """Before the first build, all passages are compared on the same scale."""
    docs = database.create_collection("docs", scorer="xtr")
    docs.add(corpus.passages, vectors=corpus.vectors)
    assert_same(search(connection, "docs", corpus.queries[0]), docs.search(vectors=corpus.queries[0]))
    assert_same(
        search(connection, "docs", corpus.queries[0], reduction="sum"), docs.search(vectors=corpus.queries[0], reduction="sum")
    )


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("xtr", {"k": 0}, "k is 0"),
        ("xtr", {"probes": 0}, "probes is 0"),
        ("xtr", {"k_tokens": 0}, "k_tokens is 0"),
        ("xtr", {"imputation": "mean"}, "imputation is 'mean'"),
        ("xtr", {"imputation": "1; drop"}, "imputation is '1; drop'"),
        ("xtr", {"reduction": "max"}, "reduction is 'max'"),
        ("xtr", {"rerank": "other"}, "rerank is 'other'"),
        ("xtr", {"rerank": "maxsim"}, "rerank is maxsim, but the collection stores no codes by passage"),
    ],
)
def test_errors_name_the_value(reading: Connection, corpus: Corpus, name: str, options: dict[str, Any], message: str):
    """Invalid values raise errors that name them."""
    with pytest.raises(psycopg.Error, match=message) as caught:
        search(reading, name, corpus.queries[0], **options)
    assert caught.value.sqlstate == "PGR05"


def test_errors_of_the_other_kind(module_database: pgretrieval.RetrievalDatabase, reading: Connection, corpus: Corpus):
    """Functions refuse collections of the other kind of scorer."""
    with pytest.raises(psycopg.Error, match=r"candidates is 50.*retrieved tokens") as caught:
        search(reading, "xtr", corpus.queries[0], "search", candidates=50)
    assert caught.value.sqlstate == "PGR05"
    reading.rollback()
    reading.execute("select pgretrieval.create_collection('plain', 64)")
    with pytest.raises(psycopg.Error, match="'plain' is scored by all tokens") as caught:
        search(reading, "plain", corpus.queries[0])
    assert caught.value.sqlstate == "PGR05"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("scorer => 'colbert'", "scorer is 'colbert'"),
        ("scorer => null", "scorer is null"),
        ("rerank => 'maxsim'", "rerank is maxsim, which scorer maxsim includes"),
        ("scorer => 'xtr', rerank => 'none'", "rerank is 'none'"),
        ("scorer => 'xtr', unit_vectors => null", "unit_vectors is null"),
        ("scorer => 'xtr', generator => 'proxy'", "generator is proxy, but scorer xtr retrieves tokens"),
    ],
)
def test_collections_that_cannot_be_made(connection: Connection, options: str, message: str):
    """Contradictory settings are refused."""
    with pytest.raises(psycopg.Error, match=message) as caught:
        connection.execute(f"select pgretrieval.create_collection('docs', 64, {options})")
    assert caught.value.sqlstate == "PGR05"
    assert connection.execute("select count(*) from pgretrieval.collection").fetchone() == (0,)


# ---- the parts


HELD = "(select c from pgretrieval.collection as c where name = 'xtr')"


def ids_of(connection: Connection) -> tuple[int, int]:
    """The ids of the collection and its codebook."""
    return connection.execute("select collection_id, codebook_id from pgretrieval.collection where name = 'xtr'").fetchone()


def test_what_is_checked_first(reading: Connection):
    """Valid values pass the checks."""
    reading.execute("select pgretrieval.create_collection('fresh', scorer => 'xtr', rerank => 'maxsim', unit_vectors => false)")
    query = "array_fill(1, array[64])::vector"
    reading.execute(f"select pgretrieval.xtr_search('xtr', array[{query}], 10, null, null, null, null, '-0.5')")


def test_decoder(reading: Connection):
    """Each byte is decoded to its weights in order, exactly."""
    _, codebook = ids_of(reading)
    id_bytes, width, levels, residual = reading.execute("select * from pgretrieval.decoder(%s)", [codebook]).fetchone()
    weights = reading.execute("select weights from pgretrieval.codebook where codebook_id = %s", [codebook]).fetchone()[0]
    assert (id_bytes, width, [len(table) for table in levels]) == (2, 32, [256, 256])
    for packed in (bytes(range(32)), bytes(range(224, 256)), bytes(range(0, 256, 8))):
        statement = f"select ({residual})::real[] from (select %(packed)s::bytea as packed) as token"
        parameters = {"levels": levels, "packed": packed}
        decoded = reading.execute(statement.replace("($3)", "(%(levels)s::bytea[])"), parameters).fetchone()[0]
        assert decoded == [weights[value] for byte in packed for value in (byte >> 4, byte & 15)]


def tokens_among(reading: Connection, prefix: str, centroids: int, filter: str, among: str) -> psycopg.Cursor[Any]:
    """Run the statement by which the client reads tokens of some passages."""
    collection, codebook = ids_of(reading)
    parameters = {"collection_id": collection, "codebook_id": codebook, "centroid_ids": list(range(centroids)), "filter": filter}
    return reading.execute(f"{prefix} {statements('search')['tokens_among'].format(among=among)}", parameters)


def test_tokens_among(reading: Connection):
    """Only tokens of matching passages are returned."""
    collection, _ = ids_of(reading)
    rows = tokens_among(reading, "", 5000, "$.number < 20", "array['p3', 'p4', 'p99']").fetchall()
    found = (sum(len(passages) for _, passages, _ in rows), sum(len(residuals) for _, _, residuals in rows))
    tokens = reading.execute(
        "select sum(token_count) from pgretrieval.passage where collection_id = %s and key in ('p3', 'p4')", [collection]
    ).fetchone()[0]
    assert found == (tokens, 32 * tokens)


def test_probes_for(reading: Connection, corpus: Corpus):
    """Query tokens probe as many centroids as contain the needed tokens."""
    collection, codebook = ids_of(reading)
    query = vector_array(corpus.queries[0])
    counted = f"select pgretrieval.probes_for({HELD}, %s::vector[], %s)"
    widths = reading.execute(counted, [query, 100]).fetchone()[0]
    assert len(widths) == 8
    assert len(set(widths)) > 1
    for width, row in zip(widths, corpus.queries[0], strict=True):
        sizes = reading.execute(
            """select coalesce(sum(cardinality(passage_ids)), 0)
               from (select centroid_id from pgretrieval.centroid where collection_id = %(c)s and codebook_id = %(b)s
                     order by vector <#> %(v)s::halfvec limit %(n)s) as nearest
               left join pgretrieval.posting_code using (centroid_id)
               where collection_id = %(c)s and codebook_id = %(b)s""",
            {"c": collection, "b": codebook, "v": str(row.tolist()), "n": width},
        ).fetchone()[0]
        assert 95 <= sizes <= 160  # the index may leave out a neighbour
    centroids = reading.execute("select centroid_count from pgretrieval.codebook where codebook_id = %s", [codebook]).fetchone()[0]
    assert reading.execute(counted, [query, 10**9]).fetchone()[0] == [centroids] * 8


def test_score_tokens_and_retrieved_passages(reading: Connection, corpus: Corpus):
    """Passages without a retrieved token have the imputed score, and tokens are counted."""
    query = vector_array(corpus.queries[0])
    rows = reading.execute(
        f"select * from pgretrieval.score_tokens({HELD}, %s::vector[], array_fill(5, array[8]), 3, 'kth', null, null, null)",
        [query],
    ).fetchall()
    scored = [row[:2] for row in rows]
    seen = next(row[2] for row in rows if row[0] is None)
    assert len(seen) == 8
    assert min(seen) > 0
    assert all(row[2] is None for row in rows if row[0] is not None)
    others = [score for passage_id, score in scored if passage_id is None]
    assert len(others) == 1
    assert all(score >= others[0] for _, score in scored)
    assert len(scored) <= 1 + 3 * 8
    found = reading.execute(
        f"select count(passage_id) from pgretrieval.retrieved_passages({HELD}, %s::vector[], 290, 5, 3, 'kth', null, null, null)",
        [query],
    ).fetchone()
    assert found == (290,)


def test_compact_postings_of_tokens_and_check_posting_codes(reading: Connection):
    """Only marked segments are merged, and tokens of removed passages are dropped."""
    collection, codebook = ids_of(reading)
    counted = "select count(*), sum(cardinality(passage_ids)) from pgretrieval.posting_code where collection_id = %s"
    before = reading.execute(counted, [collection]).fetchone()
    reading.execute("select pgretrieval.compact_postings(%s, %s, 'posting_code', '-1', 5000)", [collection, codebook])
    assert reading.execute(counted, [collection]).fetchone() == before
    reading.execute("update pgretrieval.segment set compacting = true where collection_id = %s", [collection])
    reading.execute("update pgretrieval.removed_passage set compacting = true where collection_id = %s", [collection])
    reading.execute("select pgretrieval.compact_postings(%s, %s, 'posting_code', '-1', 5000)", [collection, codebook])
    rows, tokens = reading.execute(counted, [collection]).fetchone()
    assert rows < before[0]
    live = reading.execute("select sum(token_count) from pgretrieval.passage where collection_id = %s", [collection]).fetchone()
    assert (tokens,) == live
    assert reading.execute(f"select * from pgretrieval.check_posting_codes({HELD})").fetchall() == []


def test_the_function_itself(reading: Connection, corpus: Corpus):
    """The columns are those of search."""
    cursor = reading.execute("select * from pgretrieval.xtr_search('xtr', %s::vector[], 1)", [vector_array(corpus.queries[0])])
    assert [column.name for column in cursor.description or []] == ["rank", "id", "score", "title", "body", "metadata"]


def test_no_passage_is_looked_up_where_all_count(reading: Connection, corpus: Corpus):
    """Tokens are not joined with passages if all passages count."""
    query = vector_array(corpus.queries[0])
    looked = "select sum(pg_stat_get_xact_numscans(oid)) from pg_class where relname ~ '^passage_[0-9]+(_pkey)?$'"
    scored = f"select from pgretrieval.score_tokens({HELD}, %s::vector[], array_fill(5, array[8]), 3, 'kth', %s, null, null)"
    counts = [reading.execute(looked).fetchone()[0]]
    for restriction in (None, "$.number < 100"):
        reading.execute(scored, [query, restriction])
        counts.append(reading.execute(looked).fetchone()[0])
    assert counts[0] == counts[1] < counts[2]


def test_tokens_are_not_joined_with_all_passages(reading: Connection):
    """The plan joins tokens by passage, not by bucket."""
    explained = tokens_among(reading, "explain (analyze)", 100, "$.number < 100", "null::text[]")
    plan = "\n".join(line for (line,) in explained)
    assert "on passage_" in plan
    assert "Rows Removed by Join Filter" not in plan
