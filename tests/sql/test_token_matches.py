"""pgretrieval.token_matches: the best token of a passage for each token of a query, and what it adds to the score."""

from __future__ import annotations

from typing import Any

import numpy as np
import psycopg
import pytest

import pgretrieval
from pgretrieval.types import Float32Array
from tests.fixtures.collections import Corpus
from tests.fixtures.postgres import PostgresUnderTest
from tests.support.codes import decoded
from tests.support.roles import grant, isolate_tenants, url_as
from tests.support.sql import vector_array
from tests.support.tokens import KINDS, fill, lengthened

pytestmark = pytest.mark.both_versions

Connection = psycopg.Connection[Any]
Row = tuple[int, int | None, float, float, bool]
STORED: dict[str, dict[str, Any]] = {
    "one bit": {"bits": 1},
    "four bits": {"bits": 4},
    "kept": {"bits": 1, "keep_vectors": True},
    "unbuilt": {},
}
COLUMNS = "query_position, passage_position, similarity, share, imputed"


def matches(connection: Connection, name: str, query: Float32Array, key: str) -> list[Row]:
    """All columns, in the order of the rows."""
    statement = f"select {COLUMNS} from pgretrieval.token_matches(%s, %s::vector[], %s)"
    return connection.execute(statement, [name, vector_array(query), key]).fetchall()


def summed(connection: Connection, query: Float32Array, key: str) -> float:
    """The sum of the similarities, in double precision, as a score."""
    statement = "select sum(similarity::double precision)::real from pgretrieval.token_matches('docs', %s::vector[], %s)"
    return connection.execute(statement, [vector_array(query), key]).fetchone()[0]


def hits(connection: Connection, name: str, query: Float32Array, k: int = 20) -> list[tuple[str, float]]:
    """Ids and scores of a search with the defaults."""
    return connection.execute(
        "select id, score from pgretrieval.search(%s, %s::vector[], %s)", [name, vector_array(query), k]
    ).fetchall()


def halved(vectors: list[Float32Array]) -> dict[str, Float32Array]:
    """Vectors as they are stored, by id."""
    return {f"p{number}": rows.astype(np.float16).astype(np.float32) for number, rows in enumerate(vectors)}


@pytest.mark.parametrize("name", STORED)
def test_matches_are_the_best_tokens_by_what_is_stored(
    database: pgretrieval.RetrievalDatabase, connection: Connection, corpus: Corpus, name: str
):
    """Similarities sum to the search's score to the last bit; positions, from 1, are of the best stored or decoded vectors."""
    docs = database.create_collection("docs", **STORED[name])
    docs.add(corpus.passages, vectors=corpus.vectors)
    if name != "unbuilt":
        docs.build()
    stored = halved(corpus.vectors) if name in ("kept", "unbuilt") else decoded(database.url, "docs")
    for query in corpus.queries[:3]:
        found = hits(connection, "docs", query)
        for key, score in found:
            rows = matches(connection, "docs", query, key)
            products = query.astype(np.float64) @ stored[key].T
            assert [row[0] for row in rows] == list(range(1, len(query) + 1))
            assert [row[1] for row in rows] == (products.argmax(axis=1) + 1).tolist()
            assert [row[2] for row in rows] == pytest.approx(products.max(axis=1).tolist(), abs=1e-4)
            assert summed(connection, query, key) == score
            assert [row[3] for row in rows] == [row[2] for row in rows]
            assert not any(row[4] for row in rows)
        in_python = docs.search(vectors=query, k=1, matches=True)[0]
        rows = matches(connection, "docs", query, in_python.id)
        assert [row[1] for row in rows] == [1 + (match.position or 0) for match in in_python.matches or ()]
    missed = next(f"p{number}" for number in range(300) if f"p{number}" not in dict(found))
    assert len(matches(connection, "docs", query, missed)) == len(query)


@pytest.fixture(scope="module")
def by_tokens(module_database: pgretrieval.RetrievalDatabase, corpus: Corpus) -> dict[str, pgretrieval.Collection]:
    """Collections that tests do not change."""
    return fill(module_database, corpus)


@pytest.mark.parametrize("name", KINDS)
def test_matches_of_retrieved_tokens(by_tokens: dict[str, pgretrieval.Collection], corpus: Corpus, name: str):
    """Shares sum to the score of a search with the defaults; imputed scores are the same for all passages."""
    vectors = lengthened(corpus.vectors) if name == "long" else corpus.vectors
    imputed: dict[int, set[float]] = {}
    least: dict[int, float] = {}
    with psycopg.connect(by_tokens[name]._database.url) as connection:
        for query in corpus.queries[:2]:
            imputed.clear()
            least.clear()
            divisor = 1 if KINDS[name]["scorer"] == "colxtr" else len(query)
            for key, score in hits(connection, name, query, 100)[::4]:
                rows = matches(connection, name, query, key)
                if name != "reranked":
                    assert sum(row[3] for row in rows) == pytest.approx(score, rel=1e-5)
                products = query.astype(np.float64) @ vectors[int(key[1:])].T
                for place, position, similarity, share, missed in rows:
                    assert share == pytest.approx(similarity / divisor, rel=1e-6)
                    if missed:
                        assert position is None
                        imputed.setdefault(place, set()).add(similarity)
                    else:
                        assert products[place - 1, position - 1] == pytest.approx(similarity, abs=0.15 * products.max())
                        least[place] = min(similarity, least.get(place, similarity))
            assert bool(imputed) == (name != "reranked")
            assert all(len(values) == 1 for values in imputed.values())
            assert all(max(imputed[place]) <= least.get(place, np.inf) for place in imputed)


def test_positions_of_retrieved_tokens_are_exact(by_tokens: dict[str, pgretrieval.Collection], corpus: Corpus):
    """A passage's own vectors as a query find their own positions, after adds to another segment, too."""
    with psycopg.connect(by_tokens["xtr"]._database.url) as connection:
        for number in (3, 120, 250):
            rows = matches(connection, "xtr", corpus.vectors[number], f"p{number}")
            assert [row[1] for row in rows] == [row[0] for row in rows]
            assert not any(row[4] for row in rows)
            assert min(row[2] for row in rows) > 0.9


def test_reranked_passages_match_by_their_codes(by_tokens: dict[str, pgretrieval.Collection], corpus: Corpus):
    """Where a search reranks by MaxSim, so do the matches, and none is imputed."""
    with psycopg.connect(by_tokens["reranked"]._database.url) as connection:
        for key, score in hits(connection, "reranked", corpus.queries[0]):
            rows = matches(connection, "reranked", corpus.queries[0], key)
            assert sum(row[3] for row in rows) == pytest.approx(score, rel=1e-6)
            assert not any(row[4] for row in rows)


def test_the_presets_options_are_those_of_the_search(
    database: pgretrieval.RetrievalDatabase, connection: Connection, corpus: Corpus
):
    """A preset's imputation, reduction and tokens give the shares, as they give the score."""
    docs = database.create_collection("docs", scorer="colxtr")
    docs.add(corpus.passages, vectors=corpus.vectors)
    docs.build()
    preset = '{"name": "xtr", "search": [{"k_tokens": 9, "imputation": "0.25", "reduction": "mean"}]}'
    connection.execute("update pgretrieval.collection set preset = %s", [preset])
    query = corpus.queries[0]
    imputed = set()
    for key, score in hits(connection, "docs", query):
        rows = matches(connection, "docs", query, key)
        assert sum(row[3] for row in rows) == pytest.approx(score, rel=1e-5)
        assert [row[3] for row in rows] == pytest.approx([row[2] / len(query) for row in rows], rel=1e-6)
        imputed |= {row[2] for row in rows if row[4]}
    assert imputed == {0.25}


@pytest.mark.parametrize("options", [{}, {"scorer": "xtr"}], ids=["maxsim", "xtr"])
def test_row_level_security(postgres: PostgresUnderTest, database_url: str, corpus: Corpus, options: dict[str, Any]):
    """A tenant sees matches of its own passages, whose shares sum to its own scores; others' passages do not exist for it."""
    with pgretrieval.connect(url=database_url) as database:
        docs = database.create_collection("docs", **options)
        tenants = [{**passage, "metadata": {"tenant": f"t{number % 3}"}} for number, passage in enumerate(corpus.passages)]
        docs.add(tenants, vectors=corpus.vectors)
        docs.build()
    reader, writer = postgres.create_role(), postgres.create_role()
    grant(database_url, reader[0], writer[0], "postgres")
    with psycopg.connect(database_url, autocommit=True) as connection:
        isolate_tenants(connection)
        connection.execute(f"alter role {reader[0]} set app.tenant = 't1'")
    query = corpus.queries[0]
    with psycopg.connect(url_as(postgres, database_url, reader), autocommit=True) as connection:
        own = hits(connection, "docs", query)
        assert {int(key[1:]) % 3 for key, _ in own} == {1}
        for key, score in own:
            rows = matches(connection, "docs", query, key)
            assert sum(row[3] for row in rows) == pytest.approx(score, rel=1e-5)
            assert {row[1] is None for row in rows} == {bool(options)}  # postings, which have positions, show nothing to it
        with pytest.raises(psycopg.Error, match="no passage 'p3' in collection 'docs'") as caught:
            matches(connection, "docs", query, "p3")
        assert caught.value.sqlstate == "PGR05"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("'nobody', array[array_fill(1, array[64])::vector], 'p1'", "no collection 'nobody'"),
        ("'xtr', array[array_fill(1, array[64])::vector], 'nobody'", "no passage 'nobody' in collection 'xtr'"),
        ("'xtr', array[array_fill(1, array[64])::vector], 'p55'", "no passage 'p55' in collection 'xtr'"),  # deleted
        ("'xtr', array[array_fill(1, array[64])::vector], null", "no passage null in collection 'xtr'"),
        ("'xtr', null, 'p1'", "the vectors of the query are not a list"),
        ("'xtr', array['[1]'::vector], 'p1'", "the vectors of the query have 1 dimensions"),
        ("'xtr', array[array_fill(0, array[64])::vector], 'p1'", "contain a zero vector"),
    ],
)
def test_wrong_arguments(by_tokens: dict[str, pgretrieval.Collection], arguments: str, message: str):
    """Wrong arguments raise errors that name the value."""
    with psycopg.connect(by_tokens["xtr"]._database.url) as connection, pytest.raises(psycopg.Error, match=message) as caught:
        connection.execute(f"select * from pgretrieval.token_matches({arguments})")
    assert caught.value.sqlstate in ("PGR04", "PGR05")


def test_the_vectors_of_a_passage(by_tokens: dict[str, pgretrieval.Collection], corpus: Corpus):
    """passage_vectors returns what the codes of one passage decode to, in order, and nothing of no passage."""
    with psycopg.connect(by_tokens["reranked"]._database.url) as connection:
        held = "pgretrieval.known_collection('reranked')"
        number = connection.execute(
            f"select passage_id from pgretrieval.passage where key = 'p7' and collection_id = ({held}).collection_id"
        ).fetchone()[0]
        statement = f"select place, vector::text from pgretrieval.passage_vectors({held}, %s) order by place"
        rows = connection.execute(statement, [number]).fetchall()
        assert [row[0] for row in rows] == list(range(1, len(corpus.vectors[7]) + 1))
        vectors = np.array([[float(value) for value in row[1][1:-1].split(",")] for row in rows])
        assert vectors == pytest.approx(decoded(by_tokens["reranked"]._database.url, "reranked")["p7"], abs=1e-5)
        assert connection.execute(statement, [10**6]).fetchall() == []
