"""privileges.sql and row-level security: no function or message reveals data of another tenant."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

import pgretrieval
from pgretrieval import assets
from pgretrieval.db.parameters import vector
from tests.fixtures.collections import Corpus
from tests.fixtures.postgres import PostgresUnderTest
from tests.support.changing import until_waiting
from tests.support.roles import grant, isolate_tenants, url_as
from tests.support.sql import vector_array

Connection = psycopg.Connection[Any]
ROLES = ("reader", "writer", "owner")


@dataclass(frozen=True)
class Prepared:
    """A database that tests copy, with name and password of each role."""

    url: str
    roles: dict[str, tuple[str, str]]

    def release(self, postgres: PostgresUnderTest, url: str) -> None:
        """Let the roles own nothing in a copy, nor the copy."""
        postgres.execute("alter database {} owner to current_user", str(psycopg.conninfo.conninfo_to_dict(url)["dbname"]))
        with psycopg.connect(url, autocommit=True) as connection:
            for name, _ in self.roles.values():
                connection.execute(psycopg.sql.SQL("reassign owned by {} to current_user").format(psycopg.sql.Identifier(name)))
                connection.execute(psycopg.sql.SQL("drop owned by {}").format(psycopg.sql.Identifier(name)))


@pytest.fixture(scope="module")
def prepared(postgres: PostgresUnderTest, corpus: Corpus) -> Iterator[Prepared]:
    """The corpus in docs, and the rights of the roles: two of three passages belong to tenant a, the others to b."""
    url = postgres.create_database()
    with pgretrieval.connect(url) as database:
        docs = database.create_collection("docs", dense="kept")
        passages = [dict(passage, metadata={"tenant": tenant(number)}) for number, passage in enumerate(corpus.passages)]
        docs.add(passages, vectors=corpus.vectors, dense=[vectors[0] for vectors in corpus.vectors])
        docs.build()
    made = Prepared(url, {name: postgres.create_role() for name in ROLES})
    grant(url, *(made.roles[name][0] for name in ROLES))
    yield made
    made.release(postgres, url)
    postgres.drop_database(url)


@pytest.fixture
def database_url(postgres: PostgresUnderTest, prepared: Prepared) -> Iterator[str]:
    """A copy of the prepared database."""
    url = postgres.create_database(copied=prepared.url)
    yield url
    prepared.release(postgres, url)
    postgres.drop_database(url)


@pytest.fixture
def urls(postgres: PostgresUnderTest, prepared: Prepared, database_url: str) -> dict[str, str]:
    """The database URL of each role."""
    return {name: url_as(postgres, database_url, role) for name, role in prepared.roles.items()}


def tenant(number: int) -> str:
    """The tenant of passage p{number}."""
    return "b" if number % 3 == 0 else "a"


def test_rights_are_given_while_a_table_is_analyzed(urls: dict[str, str], database_url: str):
    """Granting privileges during an analyze neither waits nor deadlocks."""
    roles = [str(psycopg.conninfo.conninfo_to_dict(urls[name])["user"]) for name in ROLES]
    with ThreadPoolExecutor() as pool, psycopg.connect(database_url) as connection:
        connection.execute("lock table pgretrieval.passage_1 in share update exclusive mode")
        giving = pool.submit(grant, database_url, *roles)
        until_waiting(database_url)
        connection.execute("analyze pgretrieval.passage_1")
        connection.commit()
        giving.result()


def test_a_reader_searches_and_changes_nothing(urls: dict[str, str], corpus: Corpus):
    """A reader can search and cannot write."""
    with pgretrieval.connect(urls["reader"]) as database:
        docs = database.get_collection("docs")
        assert len(docs.search(vectors=corpus.queries[0])) == 10
        assert docs.stats()["passages"] == 300
        with pytest.raises(pgretrieval.PgRetrievalError, match="this role lacks a right"):
            docs.add([{"id": "new", "text": "text"}], vectors=corpus.vectors[:1], dense=corpus.queries[0][:1])
    with psycopg.connect(urls["reader"], autocommit=True) as connection:
        query = vector_array(corpus.queries[0])
        assert len(connection.execute("select * from pgretrieval.search('docs', %s::vector[])", [query]).fetchall()) == 10
        assert connection.execute("select pgretrieval.stats('docs') ->> 'passages'").fetchone() == ("300",)
        for statement in (
            "select pgretrieval.add_passage('docs', 'new', 'text', %s::vector[], dense => array_fill(1, array[64])::vector)",
            "select pgretrieval.delete_passage('docs', 'p1') where %s <> ''",
            "select pgretrieval.drop_collection('docs') where %s <> ''",
            "select pgretrieval.create_collection('other') where %s <> ''",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement, [query])


def test_a_writer_adds_and_deletes(urls: dict[str, str], corpus: Corpus):
    """A writer can add and delete, from Python and in SQL."""
    with pgretrieval.connect(urls["writer"]) as database:
        docs = database.get_collection("docs")
        docs.add([{"id": "new", "text": "text"}], vectors=[corpus.queries[0]], dense=[corpus.queries[0][0]])
        assert docs.search(vectors=corpus.queries[0], k=1)[0].id == "new"
    with psycopg.connect(urls["writer"], autocommit=True) as connection:
        connection.execute(
            "select pgretrieval.add_passage('docs', 'sql', 'text', %s::vector[], dense => %s::vector)",
            [vector_array(corpus.queries[1]), vector(corpus.queries[1][0])],
        )
        assert connection.execute("select pgretrieval.delete_passage('docs', 'new')").fetchone() == (True,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("select pgretrieval.drop_collection('docs')")


def test_an_owner_creates_builds_and_drops(urls: dict[str, str], corpus: Corpus):
    """An owner can create, build and drop, and readers and writers can use later collections."""
    with pgretrieval.connect(urls["owner"]) as database:
        docs = database.create_collection("later", dense="kept")
        dense = [vectors[0] for vectors in corpus.vectors]
        docs.add(corpus.passages, vectors=corpus.vectors, dense=dense)
        docs.build()
    with pgretrieval.connect(urls["writer"]) as database:
        database.get_collection("later").add([{"id": "new", "text": "text"}], vectors=[corpus.queries[0]], dense=dense[:1])
    with pgretrieval.connect(urls["reader"]) as database:
        assert database.get_collection("later").search(vectors=corpus.queries[0], k=1)[0].id == "new"
    with pgretrieval.connect(urls["owner"]) as database:
        database.drop_collection("later")
        assert database.list_collections() == ["docs"]


@pytest.fixture
def tenants(urls: dict[str, str], database_url: str) -> dict[str, str]:
    """URLs of the reader and the writer as each tenant: `reader a` and the like."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        isolate_tenants(connection)
    return {f"{role} {name}": f"{urls[role]}&options=-capp.tenant%3D{name}" for role in ("reader", "writer") for name in ("a", "b")}


@pytest.mark.parametrize("name", ["a", "b"])
def test_searches_return_k_passages_of_one_tenant(tenants: dict[str, str], corpus: Corpus, name: str):
    """A search returns k passages of the tenant and none of others."""
    mine = {f"p{number}" for number in range(300) if tenant(number) == name}
    with pgretrieval.connect(tenants[f"reader {name}"]) as database, psycopg.connect(tenants[f"reader {name}"]) as connection:
        docs = database.get_collection("docs")
        for query in corpus.queries:
            for k in (10, 90):
                python = docs.search(vectors=query, k=k)
                found = connection.execute(
                    "select id, score from pgretrieval.search('docs', %s::vector[], %s)", [vector_array(query), k]
                ).fetchall()
                assert len(python) == len(found) == k
                assert {hit.id for hit in python} <= mine
                assert {row[0] for row in found} <= mine
        assert {hit.id for hit in docs.search(vectors=corpus.queries[0], k=300)} == mine
        assert [hit.id for hit in docs.search(vectors=corpus.queries[0], among=["p0", "p1"])] == (["p1"] if name == "a" else ["p0"])
        explained = docs.explain(vectors=corpus.queries[0])
        assert explained.postings_read == 0


@pytest.mark.parametrize("name", ["a", "b"])
def test_counts_cover_one_tenant(tenants: dict[str, str], corpus: Corpus, name: str):
    """Counts cover only the tenant's passages."""
    mine = sum(tenant(number) == name for number in range(300))
    with psycopg.connect(tenants[f"reader {name}"]) as connection:
        stats = connection.execute("select pgretrieval.stats('docs')").fetchone()[0]
        assert stats["passages"] == mine
        everything = "array(select g from generate_series(1, 400) g)"
        query = vector_array(corpus.queries[0])
        for statement in (
            f"select count(*) from pgretrieval.score_passages(pgretrieval.known_collection('docs'), {everything}, %s::vector[])",
            "select count(*) from pgretrieval.score_roughly("
            f"pgretrieval.known_collection('docs'), {everything}, %s::vector[], array(select generate_series(0, 4000)), "
            "array(select 0 from generate_series(1, 50)))",
            "select count(*) from pgretrieval.candidates_among(1, 1, array(select generate_series(0, 4000)), "
            "array(select 1::real from generate_series(0, 4000)), 1000, null, null) where %s <> ''",
            "select count(*) from pgretrieval.candidates_by_text("
            "pgretrieval.known_collection('docs'), 'text passage', 1000, null, null) where %s <> ''",
            "select count(*) from pgretrieval.candidates_by_dense("
            "pgretrieval.known_collection('docs'), (%s::vector[])[1], 1000, null, null, null, true)",
            "select count(*) from pgretrieval.candidates_by_dense("
            f"pgretrieval.known_collection('docs'), (%s::vector[])[1], null, null, null, {everything}, false)",
            "select count(*) from pgretrieval.dense_search('docs', (%s::vector[])[1], 1000)",
            "select count(*) from pgretrieval.hybrid_search("
            "'docs', %s::vector[], 'text passage', 300, query_dense => array_fill(1, array[64])::vector)",
        ):
            assert connection.execute(statement, [query]).fetchone() == (mine,)
        # Postings contain passages of all tenants and are hidden.
        listed = connection.execute(
            "select count(*) from pgretrieval.candidates_by_postings(1, 1, array(select generate_series(0, 4000)), "
            "array(select 1::real from generate_series(0, 4000)), 1000)"
        )
        assert listed.fetchone() == (0,)
    with pgretrieval.connect(tenants[f"reader {name}"]) as database:
        held = database.get_collection("docs").stats()
        assert held["passages"] == mine
        assert held["tokens"] == sum(len(corpus.vectors[number]) for number in range(300) if tenant(number) == name)
        assert (held["bytes"], held["index_bytes"], held["trained_for_tokens"]) == ({}, {}, None)


def test_scores_do_not_depend_on_other_tenants(tenants: dict[str, str], corpus: Corpus):
    """Word weights do not depend on passages of others."""

    def scores() -> list[tuple[str, float]]:
        with pgretrieval.connect(tenants["reader a"]) as database:
            return [(hit.id, hit.score) for hit in database.get_collection("docs").text_search("passage 7", k=200)]

    before = scores()
    assert len(before) == 200
    with pgretrieval.connect(tenants["writer b"]) as database:
        new = [{"id": f"b{number}", "text": "7 7 7", "metadata": {"tenant": "b"}} for number in range(200)]
        vectors = [corpus.vectors[0]] * len(new)
        database.get_collection("docs").add(new, vectors=vectors, dense=[rows[0] for rows in vectors])
    assert scores() == before


@pytest.mark.parametrize("name", ["a", "b"])
def test_hybrid_searches_return_one_tenant(tenants: dict[str, str], corpus: Corpus, name: str):
    """Words and dense vectors return only the tenant's passages."""
    mine = {f"p{number}" for number in range(300) if tenant(number) == name}
    with pgretrieval.connect(tenants[f"reader {name}"]) as database:
        docs = database.get_collection("docs")
        for query in corpus.queries[:4]:
            for k in (10, 90):
                found = docs.hybrid_search("passage 7", k, vectors=query, dense=query[0])
                assert len(found) == k
                assert {hit.id for hit in found} <= mine


def test_a_tenant_writes_and_deletes_only_its_own(tenants: dict[str, str], corpus: Corpus):
    """A tenant writes and deletes only its own passages."""
    query = vector_array(corpus.queries[0])
    dense = corpus.queries[0][0]
    add = f"select pgretrieval.add_passage('docs', %s, 'text', %s::vector[], metadata => %s, dense => '{vector(dense)}')"
    with psycopg.connect(tenants["writer a"], autocommit=True) as connection:
        connection.execute(add, ["mine", query, '{"tenant": "a"}'])
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(add, ["theirs", query, '{"tenant": "b"}'])
        assert connection.execute("select pgretrieval.delete_passage('docs', 'p0')").fetchone() == (False,)
        assert connection.execute("select pgretrieval.delete_passage('docs', 'p1')").fetchone() == (True,)
    with pgretrieval.connect(tenants["writer b"]) as database:
        docs = database.get_collection("docs")
        docs.add([{"id": "ours", "text": "text", "metadata": {"tenant": "b"}}], vectors=[corpus.queries[0]], dense=[dense])
        found = [hit.id for hit in docs.search(vectors=corpus.queries[0], k=300)]
        assert found[0] == "ours"
        assert "mine" not in found
        assert "p0" in found


INJECTIONS = [
    "'; drop table pgretrieval.passage; --",
    "docs' or '1'='1",
    '"; select 1; --',
    "%s %(x)s {0}",
    "$1",
    "\\'; --",
    "docs\n--",
]


@pytest.mark.parametrize("text", INJECTIONS)
def test_no_text_becomes_a_statement(urls: dict[str, str], corpus: Corpus, text: str):
    """No argument is executed as SQL."""
    query = vector_array(corpus.queries[0])
    with psycopg.connect(urls["writer"], autocommit=True) as connection:
        for statement in (
            "select * from pgretrieval.search(%(text)s, %(query)s::vector[])",
            "select pgretrieval.stats(%(text)s)",
            "select pgretrieval.delete_passage(%(text)s, 'p1')",
            "select pgretrieval.add_passage(%(text)s, 'x', 'x', %(query)s::vector[])",
        ):
            with pytest.raises(psycopg.Error) as raised:
                connection.execute(statement, {"text": text, "query": query})
            assert raised.value.sqlstate == "PGR04"
        connection.execute(
            "select pgretrieval.add_passage('docs', %(text)s, %(text)s, %(query)s::vector[], %(text)s, "
            "jsonb_build_object('tenant', %(text)s::text), %(dense)s::vector)",
            {"text": text, "query": query, "dense": vector(corpus.queries[0][0])},
        )
        found = connection.execute(
            "select id, title, body, metadata ->> 'tenant' from pgretrieval.search('docs', %s::vector[], among => array[%s])",
            [query, text],
        ).fetchall()
        assert found == [(text, text, text, text)]
        assert connection.execute("select pgretrieval.delete_passage('docs', %s)", [text]).fetchone() == (True,)
    with pgretrieval.connect(urls["reader"]) as database:
        docs = database.get_collection("docs")
        assert docs.search(vectors=corpus.queries[0], where={"tenant": text}) == []
        assert docs.search(vectors=corpus.queries[0], where={f"tenant{text}": "a"}) == []
        assert docs.search(vectors=corpus.queries[0], among=[text]) == []
        assert docs.stats()["passages"] == 300


@pytest.mark.parametrize("text", INJECTIONS)
def test_no_text_of_a_query_or_a_collection_becomes_a_statement(urls: dict[str, str], corpus: Corpus, text: str):
    """Query texts, names, languages and columns are never executed as SQL."""
    parameters = {"text": text, "query": vector_array(corpus.queries[0])}
    with psycopg.connect(urls["owner"], autocommit=True) as connection:
        for statement in (
            "select * from pgretrieval.text_search('docs', %(text)s)",
            "select * from pgretrieval.hybrid_search('docs', %(query)s::vector[], %(text)s)",
        ):
            connection.execute(statement, parameters)
        for statement in (
            "select pgretrieval.create_collection('other', dense => %(text)s)",
            "select pgretrieval.create_collection('other', dense => 'pgretrieval.dense_vector.vector', dense_key => %(text)s)",
            "select * from pgretrieval.hybrid_search('docs', %(query)s::vector[], 'words', fusion => %(text)s)",
        ):
            with pytest.raises(psycopg.Error) as raised:
                connection.execute(statement, parameters)
            assert raised.value.sqlstate == "PGR05"
        for argument in ("language", "levels", "generator"):
            with pytest.raises(psycopg.Error, match=f"{argument} is ") as raised:
                connection.execute(f"select pgretrieval.create_collection('other', {argument} => %(text)s)", parameters)
            assert raised.value.sqlstate == "PGR05"
        connection.execute("select pgretrieval.create_collection(%(text)s, 64)", parameters)
        connection.execute("select pgretrieval.add_passage(%(text)s, 'x', 'words', %(query)s::vector[])", parameters)
        found = connection.execute("select id from pgretrieval.text_search(%(text)s, 'words')", parameters)
        assert found.fetchall() == [("x",)]
        assert connection.execute("select pgretrieval.drop_collection(%(text)s)", parameters).fetchone() == (True,)
        assert connection.execute("select name from pgretrieval.collections").fetchall() == [("docs",)]
        assert connection.execute("select pgretrieval.stats('docs') ->> 'passages'").fetchone() == ("300",)


def test_a_writer_of_one_tenant_compacts(tenants: dict[str, str], corpus: Corpus, database_url: str):
    """A restricted writer can compact without removing rows of others."""
    with pgretrieval.connect(tenants["writer b"]) as database:
        docs = database.get_collection("docs")
        for start in range(0, 9, 3):
            new = [{"id": f"new{number}", "text": "text", "metadata": {"tenant": "b"}} for number in range(start, start + 3)]
            docs.add(new, vectors=corpus.vectors[start : start + 3], dense=[rows[0] for rows in corpus.vectors[start : start + 3]])
        docs.delete(["new0", "p0"])
        docs.compact()
    with psycopg.connect(database_url) as connection:
        assert connection.execute("select count(*) from pgretrieval.removed_passage").fetchone() == (0,)
        assert connection.execute("select count(*) from pgretrieval.posting where segment > 0").fetchone() == (0,)
        assert connection.execute("select * from pgretrieval.check('docs')").fetchall() == []
        # The amount at which an add starts a compaction.
        connection.execute("update pgretrieval.segment set posting_rows = 1000000")
        connection.execute("insert into pgretrieval.segment values (1, 1, 999, 1, 1, 1000000)")
    with psycopg.connect(tenants["writer b"]) as connection:
        assert connection.execute("select pgretrieval.needs_compaction(1)").fetchone() == (True,)
    with psycopg.connect(tenants["reader b"]) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("select pgretrieval.compact('docs')")


def test_passages_of_others_are_not_forgotten(tenants: dict[str, str], database_url: str):
    """A writer cannot remove rows of existing passages or mark future ids as removed."""
    with psycopg.connect(tenants["writer a"], autocommit=True) as connection:
        connection.execute("select pgretrieval.forget_passages(1, array(select generate_series(1, 1000)))")
    with psycopg.connect(database_url) as connection:
        assert connection.execute("select * from pgretrieval.check('docs')").fetchall() == []
        assert connection.execute("select count(*) from pgretrieval.removed_passage").fetchone() == (0,)
        connection.execute("alter table pgretrieval.passage force row level security")
        connection.execute("select count(*) from pgretrieval.passage")
        connection.commit()
    with psycopg.connect(tenants["writer a"]) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege, match="forced"):
        connection.execute("select pgretrieval.forget_passages(1, array(select generate_series(1, 1000)))")


@pytest.mark.both_versions
def test_a_collection_for_each_tenant(urls: dict[str, str], database_url: str, corpus: Corpus):
    """Collections of other tenants are found neither by name nor by number."""
    page = (Path(__file__).parents[2] / "docs" / "guides" / "filters-and-security.md").read_text(encoding="utf-8")
    block = page.partition("## A collection for each tenant")[2].partition("```sql\n")[2].partition("```")[0]
    policies = [statement for statement in block.split(";\n") if statement.startswith(("alter table", "create policy"))]
    assert len(policies) == 3
    with pgretrieval.connect(urls["owner"]) as database:
        for name in ("a", "b"):
            docs = database.create_collection(f"docs of {name}")
            docs.add(corpus.passages, vectors=corpus.vectors)
            docs.build()
    with psycopg.connect(urls["owner"], autocommit=True) as connection:
        for statement in ["alter table pgretrieval.passage enable row level security", *policies]:
            connection.execute(statement)
        numbers = dict(connection.execute("select name, collection_id from pgretrieval.collection").fetchall())
    of_a = {role: f"{urls[role]}&options=-capp.tenant%3Da" for role in ("reader", "writer")}
    query = vector_array(corpus.queries[0])
    with pgretrieval.connect(of_a["writer"]) as database:
        assert database.list_collections() == ["docs of a"]
        mine = database.get_collection("docs of a")
        mine.add([{"id": "new", "text": "text"}], vectors=[corpus.queries[0]])
        mine.delete(["p1"])
        mine.compact()
        assert mine.search(vectors=corpus.queries[0], k=1)[0].id == "new"
        with pytest.raises(pgretrieval.CollectionNotFoundError):
            database.get_collection("docs of b")
    for role, url in of_a.items():
        with psycopg.connect(url, autocommit=True) as connection:
            with pytest.raises(psycopg.Error, match="no collection 'docs of b'"):
                connection.execute("select * from pgretrieval.search('docs of b', %s::vector[])", [query])
            for table in ("codebook", "centroid", "passage", "token_code", "posting", "word_posting", "segment"):
                found = connection.execute(f"select count(*) from pgretrieval.{table} where collection_id = {numbers['docs of b']}")
                assert found.fetchone() == (0,), (role, table)
            assert connection.execute("select name from pgretrieval.collections").fetchall() == [("docs of a",)]
            found = connection.execute("select count(*) from pgretrieval.search('docs of a', %s::vector[], 300)", [query])
            assert found.fetchone() == (300,)
    with pgretrieval.connect(urls["owner"]) as database:
        assert database.get_collection("docs of a").check() == []
        assert database.get_collection("docs of b").check() == []


def test_an_owner_who_sees_only_some_passages_does_not_build(tenants: dict[str, str], urls: dict[str, str], database_url: str):
    """An owner under forced policies cannot build."""
    owner = f"{urls['owner']}&options=-capp.tenant%3Da"
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("alter table pgretrieval.passage force row level security")
    with pgretrieval.connect(owner) as database:
        docs = database.get_collection("docs")
        for build in (docs.build, docs.rebuild):
            with pytest.raises(pgretrieval.SchemaError, match="row-level security hides passages of collection 'docs'"):
                build()
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("alter table pgretrieval.passage no force row level security")
        assert connection.execute("select * from pgretrieval.check('docs')").fetchall() == []


def test_names_of_roles_are_quoted_everywhere(database: pgretrieval.RetrievalDatabase):
    """Names with quotes, percent signs and blanks, also in the messages and templates of the script."""
    names = {part: f'{part}\'s 50% "{uuid4().hex[:8]}"' for part in ROLES}
    roles = {part: psycopg.sql.Identifier(name) for part, name in names.items()}
    with psycopg.connect(database.url, autocommit=True) as connection:
        for role in roles.values():
            connection.execute(psycopg.sql.SQL("create role {}").format(role))
        try:
            for _ in range(2):
                connection.execute(assets.privileges(**names))
            kinds = "unnest(array['select', 'insert']) as kind"
            held = f"select has_table_privilege(%(name)s, 'pgretrieval.passage', kind) from {kinds}"
            assert connection.execute(held, {"name": names["reader"]}).fetchall() == [(True,), (False,)]
            assert connection.execute(held, {"name": names["writer"]}).fetchall() == [(True,), (True,)]
            owner = connection.execute("select pg_get_userbyid(relowner) from pg_class where oid = 'pgretrieval.passage'::regclass")
            assert owner.fetchone() == (names["owner"],)
        finally:
            for role in roles.values():
                connection.execute(psycopg.sql.SQL("reassign owned by {} to current_user").format(role))
                connection.execute(psycopg.sql.SQL("drop owned by {}").format(role))
                connection.execute(psycopg.sql.SQL("drop role {}").format(role))
