"""What managed services differ in: no superuser, pgvector in a schema of its own, a search path without public, a pooler."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

import pgretrieval
from pgretrieval import assets
from pgretrieval.database import open_database
from tests.fixtures.collections import Corpus
from tests.fixtures.postgres import PostgresUnderTest
from tests.support.pooler import pooler
from tests.support.roles import url_as
from tests.support.sql import vector_array


@dataclass(frozen=True)
class Rented:
    """A database by its URL for its administrator, who is no superuser, with the password that all its roles have."""

    admin: str
    password: str

    def as_role(self, role: str) -> str:
        """The URL for a role that the administrator has made."""
        return make_conninfo(self.admin, user=role, password=self.password)

    def administer(self, statement: str, *names: str) -> None:
        """Run statements as the administrator, with {} replaced by quoted names."""
        with psycopg.connect(self.admin, autocommit=True) as connection:
            connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


@pytest.fixture
def rented(postgres: PostgresUnderTest, empty_database_url: str) -> Iterator[Rented]:
    """A new database whose sessions have an empty search path; pgvector is in `extensions`."""
    name, password = postgres.create_role()
    database = str(conninfo_to_dict(empty_database_url)["dbname"])
    postgres.execute("alter role {} createrole", name)
    postgres.execute("alter database {} owner to {}", database, name)
    postgres.execute("alter database {} set search_path = ''", database)
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        connection.execute(
            "create schema extensions; create extension vector schema extensions; revoke all on schema public from public"
        )
        connection.execute("grant usage on schema extensions to public")
    yield Rented(url_as(postgres, empty_database_url, (name, password)), password)
    postgres.drop_database(empty_database_url)  # before its owner, whom the fixture `postgres` drops


@pytest.mark.both_versions
@pytest.mark.parametrize("kind", ["direct", "emulated", "pgbouncer"])
def test_a_plain_role_does_everything(rented: Rented, corpus: Corpus, kind: str):
    """Migrate, index, build, change and search by every kind of search, directly and through a transaction pooler."""
    admin = rented.admin
    if kind == "direct":
        everything(admin, corpus)
    else:
        with pooler(kind, admin) as url:
            everything(url, corpus)


def everything(url: str, corpus: Corpus) -> None:
    """Use a database from an empty one to searches in Python and SQL."""
    with open_database(url) as database:
        database.migrate()
        assert not [finding for finding in database.diagnose() if finding.level == "problem"]
    with pgretrieval.connect(url) as database:
        docs = database.create_collection("docs", dense="kept")
        docs.add(corpus.passages[:200], vectors=corpus.vectors[:200], dense=[vectors[0] for vectors in corpus.vectors[:200]])
        docs.build()
        docs.add(corpus.passages[200:], vectors=corpus.vectors[200:], dense=[vectors[0] for vectors in corpus.vectors[200:]])
        docs.delete(["p3"])
        docs.compact()
        query = corpus.vectors[5]
        assert docs.search(vectors=query, k=1)[0].id == "p5"
        assert docs.hybrid_search("passage 5", vectors=query, dense=query[0], k=1)[0].id == "p5"
        assert docs.dense_search(dense=query[0], k=1)[0].id == "p5"
        assert docs.text_search("passage 250", k=1)[0].id == "p250"
        assert docs.check() == []
    with psycopg.connect(url, autocommit=True, prepare_threshold=None) as connection:
        found = connection.execute(
            "select id from pgretrieval.search('docs', %s::extensions.vector[], k => 1)", [vector_array(corpus.vectors[5])]
        )
        assert found.fetchone() == ("p5",)


@pytest.mark.both_versions
@pytest.mark.parametrize("migrating", ["owner", "admin"])
def test_an_administrator_without_superuser_gives_rights(
    rented: Rented, postgres: PostgresUnderTest, corpus: Corpus, migrating: str
):
    """`privileges` works for an administrator who may create roles, whether the owner or the administrator migrates."""
    roles = {name: f"pgr_role_{name}_{conninfo_to_dict(rented.admin)['user']}"[:60] for name in ("reader", "writer", "owner")}
    try:
        for role in roles.values():
            rented.administer(f"create role {{}} login password '{rented.password}'", role)
        rented.administer("grant {} to current_user", roles["owner"])
        rented.administer("grant create on database {} to {}", str(conninfo_to_dict(rented.admin)["dbname"]), roles["owner"])
        with open_database(rented.as_role(roles["owner"]) if migrating == "owner" else rented.admin) as database:
            database.migrate()
        with psycopg.connect(rented.admin, autocommit=True) as connection:
            connection.execute(assets.privileges(**roles))
        with pgretrieval.connect(rented.as_role(roles["owner"])) as database:
            database.create_collection("docs").add(corpus.passages[:20], vectors=corpus.vectors[:20])
            database.migrate()
        with pgretrieval.connect(rented.as_role(roles["writer"])) as database:
            database.get_collection("docs").add(corpus.passages[20:30], vectors=corpus.vectors[20:30])
        with pgretrieval.connect(rented.as_role(roles["reader"])) as database:
            assert database.get_collection("docs").search(vectors=corpus.vectors[25], k=1)[0].id == "p25"
    finally:
        postgres.drop_database(str(rented.admin))
        for role in roles.values():
            postgres.execute("drop role if exists {}", role)
