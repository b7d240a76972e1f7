"""Collections in 64 buckets: every row is in its passage's bucket, and searches give the hits and scores of one bucket."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pytest

import pgretrieval
from pgretrieval.buckets import buckets_of
from tests.fixtures.cli import Command
from tests.fixtures.collections import Corpus
from tests.fixtures.postgres import PostgresUnderTest
from tests.support.encoder import HashedEncoder
from tests.support.kinds import COLLECTIONS, analyze, answers, fill
from tests.support.roles import grant, isolate_tenants, url_as
from tests.support.sql import vector_array

BUCKETS = 64
OF_PASSAGES = [
    "passage",
    "token_vector",
    "dense_vector",
    "token_code",
    "proxy",
    "anchor_score",
    "item_embedding",
    "removed_passage",
]
LISTS = ["posting", "posting_code", "word_posting"]


class Pair(NamedTuple):
    """URLs of two databases with the same collections, in one bucket and in 64."""

    one: str
    many: str


@pytest.fixture(scope="module")
def pair(postgres: PostgresUnderTest, corpus: Corpus) -> Iterator[Pair]:
    """Collections of every kind, with segments, and changed and deleted passages."""
    urls = Pair(postgres.create_database(), postgres.create_database())
    for url, buckets in zip(urls, (None, BUCKETS), strict=True):
        with pgretrieval.connect(url) as database:
            fill(database, corpus, buckets)
        analyze(url)
    yield urls
    for url in urls:
        postgres.drop_database(url)


def rows(url: str, statement: str, parameters: Any = None) -> list[tuple[Any, ...]]:
    """Rows of a statement."""
    with psycopg.connect(url) as connection:
        return connection.execute(statement, parameters).fetchall()


def in_other_buckets(url: str) -> dict[str, int]:
    """Rows that are not in the bucket of their passage, by table."""
    known = """select collection_id, passage_id, pgretrieval.bucket_of(key, buckets) as bucket
               from pgretrieval.passage join pgretrieval.collection using (collection_id)"""
    found = {}
    for table in OF_PASSAGES[1:]:
        of = {"proxy": "codebook", "anchor_score": "score_matrix", "item_embedding": "factorization"}.get(table)
        joined = f"join pgretrieval.{of} using ({'matrix' if of == 'score_matrix' else of}_id)" if of else ""
        statement = f"""select count(*) from pgretrieval.{table} as kept {joined}
                        join ({known}) as known using (collection_id, passage_id) where kept.bucket <> known.bucket"""
        found[table] = rows(url, statement)[0][0]
    for table in LISTS:
        statement = f"""select count(*) from pgretrieval.{table} as kept cross join unnest(passage_ids) as entry (passage_id)
                        join ({known}) as known using (collection_id, passage_id) where kept.bucket <> known.bucket"""
        found[table] = rows(url, statement)[0][0]
    return {table: wrong for table, wrong in found.items() if wrong}


def violations(url: str) -> list[Any]:
    """Violations that `check` finds in all collections."""
    return [row for name in COLLECTIONS for row in rows(url, "select * from pgretrieval.check(%s)", [name])]


def test_rows_are_in_the_buckets_of_their_passages(pair: Pair):
    """All rows of a passage are in the bucket of its id, and lists of a centroid or word are divided by bucket."""
    passages = rows(pair.many, "select key, bucket from pgretrieval.passage")
    assert [bucket for _, bucket in passages] == buckets_of([key for key, _ in passages], BUCKETS).tolist()
    assert len({bucket for _, bucket in passages}) > BUCKETS / 2
    for table in [*OF_PASSAGES, *LISTS]:
        assert rows(pair.one, f"select distinct bucket from pgretrieval.{table}") == [(0,)], table
        assert len(rows(pair.many, f"select distinct bucket from pgretrieval.{table}")) > 1, table
    assert in_other_buckets(pair.many) == {}
    assert violations(pair.many) == violations(pair.one) == []


def test_hits_and_scores_from_python(pair: Pair, corpus: Corpus):
    """Every kind of search gives the same hits with the same scores, to the last digit."""
    assert answers(pair.many, corpus) == answers(pair.one, corpus)


@pytest.mark.parametrize("generator", ["postings", "lower_bound", "centroid_pruning", "text", "proxy"])
def test_candidates_of_every_generator(pair: Pair, corpus: Corpus, generator: str):
    """Each generator finds the same passages, with and without a filter."""
    found, text = [], "passage 7" if generator == "text" else None
    for url in pair:
        with pgretrieval.connect(url) as database:
            docs = database.get_collection("proxies" if generator == "proxy" else "docs")
            found.append(
                [
                    docs.search(text, vectors=query, k=20, generator=generator, candidates=40, where=where)
                    for query in corpus.queries
                    for where in (None, {"number": {"$gt": 100}})
                ]
            )
    assert found[0] == found[1]
    assert any(found[0])


SQL = {
    "search": "select * from pgretrieval.search('docs', {query}, 20)",
    "few candidates": "select * from pgretrieval.search('docs', {query}, 5, probes => 2, candidates => 12)",
    "filter": "select * from pgretrieval.search('docs', {query}, 20, '$.number > 100')",
    "rare": "select * from pgretrieval.search('docs', {query}, 20, '$.number < 9')",
    "among": "select * from pgretrieval.search('docs', {query}, 20, among => array['p1', 'p55', 'p250'])",
    "stored vectors": "select * from pgretrieval.search('kept', {query}, 20)",
    "not built": "select * from pgretrieval.search('waiting', {query}, 20)",
    "kth": "select * from pgretrieval.xtr_search('tokens', {query}, 20)",
    "warp": "select * from pgretrieval.xtr_search('tokens', {query}, 20, imputation => 'warp')",
    "zero": "select * from pgretrieval.xtr_search('tokens', {query}, 20, '$.number > 100', imputation => 'zero')",
    "reranked": "select * from pgretrieval.xtr_search('reranked', {query}, 20, rerank => 'maxsim')",
    "words": "select * from pgretrieval.text_search('docs', 'passage number 7', 20)",
    "words, filter": "select * from pgretrieval.text_search('docs', 'passage number 7', 20, '$.number > 100')",
    "words, rare": "select * from pgretrieval.text_search('docs', 'passage number 7', 20, '$.number < 9')",
    "words of texts": "select * from pgretrieval.text_search('waiting', 'passage number 7', 20)",
    "dense": "select * from pgretrieval.dense_search('kept', ({query})[1], 20)",
    "dense, filter": "select * from pgretrieval.dense_search('kept', ({query})[1], 20, '$.number > 100')",
    "hybrid": "select * from pgretrieval.hybrid_search('kept', {query}, 'passage 7', 20, query_dense => ({query})[1])",
    "hybrid by rank": "select * from pgretrieval.hybrid_search('kept', {query}, 'passage 7', 20, fusion => 'rank')",
    "hybrid of tokens": "select * from pgretrieval.hybrid_search('reranked', {query}, 'passage 7', 20)",
    "tokens": "select * from pgretrieval.token_matches('tokens', {query}, 'p55')",
    "anchors": "select * from pgretrieval.candidates_by_anchors('waiting', array_fill(0.5::real, array[20]), 20)",
    "anchor items": "select * from pgretrieval.anchor_items('waiting')",
    "stats": "select pgretrieval.stats(name) - 'buckets' from pgretrieval.collection order by name",
}


@pytest.mark.parametrize("kind", SQL)
def test_hits_and_scores_of_sql(pair: Pair, corpus: Corpus, kind: str):
    """Every function for applications returns the same rows."""
    found = [
        [row for query in corpus.queries[:3] for row in rows(url, SQL[kind].format(query=f"'{vector_array(query)}'::vector[]"))]
        for url in pair
    ]
    assert found[0] == found[1] != []


@pytest.fixture
def changed(postgres: PostgresUnderTest, pair: Pair) -> Iterator[Pair]:
    """Copies of both databases, to be changed."""
    urls = Pair(postgres.create_database(copied=pair.one), postgres.create_database(copied=pair.many))
    yield urls
    for url in urls:
        postgres.drop_database(url)


def test_what_a_role_sees_under_row_level_security(changed: Pair, postgres: PostgresUnderTest, corpus: Corpus):
    """Readers and writers of one tenant find, add and delete the same in both."""
    found = []
    for url in changed:
        reader, writer, owner = (postgres.create_role() for _ in range(3))
        grant(url, reader[0], writer[0], owner[0])
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(
                "update pgretrieval.passage set metadata = metadata || jsonb_build_object('tenant', (passage_id % 3)::text)"
            )
            isolate_tenants(connection)
        analyze(url)
        options = "&options=-c%20app.tenant%3D1" if "?" in url else "?options=-c%20app.tenant%3D1"
        with pgretrieval.connect(url_as(postgres, url, writer) + options) as database:
            docs = database.get_collection("docs")
            fresh = [{"id": f"new {number}", "text": f"passage {number}", "metadata": {"tenant": "1"}} for number in range(20)]
            docs.add(fresh, vectors=corpus.vectors[40:60])
            docs.delete(["new 3", "new 4"])
        with pgretrieval.connect(url_as(postgres, url, reader) + options) as database:
            for name in ("docs", "tokens", "kept"):
                docs = database.get_collection(name)
                found.append([docs.search(vectors=query, k=30) for query in corpus.queries[:3]])
                found.append(docs.text_search("passage 7", k=30))
        assert in_other_buckets(url) == {}
        assert violations(url) == []
    assert found[: len(found) // 2] == found[len(found) // 2 :]
    assert any(hit.id.startswith("new") for hit in found[1])


def test_changes_compactions_and_rebuilds(changed: Pair, corpus: Corpus):
    """Adds in Python and SQL, updates, deletes, a compaction and a rebuild leave the same in both, and `check` finds nothing."""
    found = []
    for url in changed:
        with pgretrieval.connect(url) as database:
            for name in ("docs", "proxies", "tokens", "reranked"):
                docs = database.get_collection(name)
                docs.add([{"id": "ü 1", "text": "passage ü"}, {"id": "日本", "text": "passage 7"}], vectors=corpus.vectors[60:62])
                if name != "proxies":
                    with psycopg.connect(url) as connection:
                        arguments = [name, vector_array(corpus.vectors[62])]
                        connection.execute("select pgretrieval.add_passage(%s, 'sql', 'passage 7', %s::vector[])", arguments)
                        connection.execute("select pgretrieval.delete_passage(%s, 'p70')", [name])
                docs.add([{"id": "p80", "text": "passage 7 anew"}], vectors=[corpus.vectors[63]], on_conflict="update")
                docs.delete(where={"number": {"$gt": 250}})
            for name in COLLECTIONS:
                database.get_collection(name).compact()
        assert rows(url, "select count(*) from pgretrieval.removed_passage") == [(0,)]
        assert rows(url, "select max(segment) from pgretrieval.posting") == [(0,)]
        assert in_other_buckets(url) == {}
        assert violations(url) == []
        analyze(url)
        found.append(answers(url, corpus))
        with pgretrieval.connect(url) as database:
            database.get_collection("kept").rebuild()
            database.get_collection("waiting").build()
        assert in_other_buckets(url) == {}
        assert violations(url) == []
        analyze(url)
        found.append(answers(url, corpus))
    assert found[0] == found[2]
    assert found[1] == found[3]


def test_encoders_change_in_buckets(database: pgretrieval.RetrievalDatabase):
    """A rebuild that encodes the texts again writes its vectors, codes and dense vectors in the passages' buckets."""
    docs = database.create_collection("docs", encoder=HashedEncoder(), dense="auto", buckets=BUCKETS, keep_vectors=True)
    docs.add([{"id": number, "text": f"word{number % 9} common {number}"} for number in range(100)])
    docs.build()
    docs.rebuild(encoder=HashedEncoder(dim=96))
    assert in_other_buckets(database.url) == {}
    assert docs.check() == []
    assert docs.stats()["buckets"] == docs.settings.buckets == BUCKETS
    assert docs.search("word5 77", k=1)[0].id == "77"


def test_an_attached_query_is_followed_in_buckets(database: pgretrieval.RetrievalDatabase):
    """Passages of a table's rows, and which row each came from, are in the passages' buckets; rows that go take theirs along."""
    with psycopg.connect(database.url) as connection:
        connection.execute("create table public.pages (id integer primary key, body text)")
        connection.execute("insert into public.pages select n, 'word' || n from generate_series(1, 40) as n")
    docs = database.create_collection("docs", encoder=HashedEncoder(), buckets=BUCKETS)
    query = """select id || part as id, id as key, body || ' ' || part as body
               from public.pages cross join unnest(array['a', 'b']) as part"""
    docs.add([{"id": "7a", "text": "word7 a"}])  # its source is found as it is attached
    database.attach("docs", "public.pages", text="body", query=query)
    assert rows(database.url, "select bucket from pgretrieval.source_passage") == [(buckets_of(["7a"], BUCKETS)[0],)]
    database.work([docs])
    with psycopg.connect(database.url) as connection:
        connection.execute("delete from public.pages where id > 30")
        connection.execute("update public.pages set body = 'other' where id = 5")
    database.work([docs])
    kept = rows(database.url, "select passage_key, bucket from pgretrieval.source_passage")
    assert len(kept) == 60
    assert [bucket for _, bucket in kept] == buckets_of([key for key, _ in kept], BUCKETS).tolist()
    assert in_other_buckets(database.url) == {}
    assert docs.check() == []


def test_segments_of_many_buckets_are_not_too_many(database: pgretrieval.RetrievalDatabase, corpus: Corpus):
    """A segment has a row for each bucket of a centroid: what is compacted is counted by both."""
    needed = []
    for buckets in (1, BUCKETS):
        docs = database.create_collection(f"docs{buckets}", buckets=buckets)
        docs.auto_compact = False
        docs.add(corpus.passages[:200], vectors=corpus.vectors[:200])
        docs.build()
        for start in range(200, 300, 25):
            docs.add(corpus.passages[start : start + 25], vectors=corpus.vectors[start : start + 25])
        docs.auto_compact = True
        number = rows(database.url, "select collection_id from pgretrieval.collection where name = %s", [docs.name])[0]
        needed.append(rows(database.url, "select pgretrieval.needs_compaction(%s)", number)[0][0])
    assert needed == [False, False]


def test_a_passage_in_a_wrong_bucket_is_found(changed: Pair):
    """`check` names a passage that is not in the bucket of its id, such as after an UPDATE of the collection."""
    with psycopg.connect(changed.many) as connection:
        connection.execute("update pgretrieval.collection set buckets = 65 where name = 'waiting'")
        found = connection.execute("select * from pgretrieval.check('waiting', 'passages')").fetchall()
    rules = {(rule, detail[:7], detail[-6:]) for rule, _, detail, _ in found}
    assert rules == {("wrong_bucket", "bucket ", " of 65")}


def test_buckets_on_the_command_line(command: Command, tmp_path: Path):
    """`index --buckets` creates a collection in buckets, and refuses another number afterwards."""
    corpus = tmp_path / "docs.jsonl"
    corpus.write_text('{"id": "1", "text": "black tea"}\n{"id": "2", "text": "green tea"}\n', encoding="utf-8")
    code, _, err = command("index", "docs", str(corpus), "--encoder", "none", "--buckets", "8")
    assert code == 0, err
    code, _, err = command("index", "docs", str(corpus), "--buckets", "16")
    assert code == 1
    assert "created with buckets 8, but --buckets is 16; drop it first, or leave --buckets out" in " ".join(err.split())
