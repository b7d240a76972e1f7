"""Functions and operators planted by others on the search path are never run.

Postgres chooses the best match anywhere on the path: a planted format(text, text) before the variadic one of pg_catalog, a
planted `text || integer` before the general one. These tests plant hundreds in pgvector's schema, which is on every session's
path, and run all functions and statements as a superuser.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from itertools import product
from typing import Any

import psycopg
import pytest

import pgretrieval
from pgretrieval.database import open_database
from tests.fixtures.postgres import PostgresUnderTest
from tests.sql.test_promises import World, calls, world  # noqa: F401  (a fixture)
from tests.support.encoder import HashedEncoder
from tests.support.sql import vector_array

pytestmark = pytest.mark.both_versions

Connection = psycopg.Connection[Any]

_ONE = ("text", "integer", "bigint", "name", "jsonb", "text[]", "integer[]", "real", "regclass", "double precision")
_NAMES = {
    "format": ("text", 5),
    "concat": ("text", 3),
    "concat_ws": ("text", 4),
    "jsonb_build_object": ("jsonb", 4),
    "jsonb_build_array": ("jsonb", 3),
    "to_jsonb": ("jsonb", 1),
    "to_json": ("json", 1),
    "unnest": ("setof text", 1),
    "array_agg": ("text[]", 1),
    "jsonb_agg": ("jsonb", 1),
    "array_length": ("integer", 2),
    "array_ndims": ("integer", 1),
    "array_lower": ("integer", 2),
    "array_position": ("integer", 2),
    "array_append": ("text[]", 2),
    "cardinality": ("integer", 1),
    "num_nulls": ("integer", 2),
    "quote_literal": ("text", 1),
    "quote_nullable": ("text", 1),
    "generate_subscripts": ("setof integer", 2),
    "pg_typeof": ("regtype", 1),
    "count": ("bigint", 1),
}
"""Polymorphic and variadic functions of pg_catalog, the return type of a planted one, and its maximum number of arguments."""
_OPERANDS = ("text", "integer", "smallint", "bigint", "name", "real", "jsonb", "regclass", "oid", "text[]", "integer[]")


_BODY = "begin perform nextval('public.planted_ran'); raise exception 'planted' using errcode = 'PLANT'; end"
_SIGNS = {"||": "text", "=": "boolean", "<>": "boolean", "<": "boolean", ">": "boolean", "+": "integer"}


def plant(connection: Connection) -> int:
    """Create functions and operators that increment a sequence, which no rollback undoes, and then fail; returns their number."""
    connection.execute("create sequence public.planted_ran")
    connection.execute("grant all on sequence public.planted_ran to public")
    made = 0

    def function(name: str, arguments: Sequence[str], returned: str) -> None:
        declared = f"public.{name}({', '.join(arguments)}) returns {returned}"
        connection.execute(f"create function {declared} language plpgsql as $${_BODY}$$")

    for name, (returned, most) in _NAMES.items():
        for length in range(1, most + 1):
            kinds = product(_ONE, repeat=length) if length < 3 else [("text",) * length, ("text", *("integer",) * (length - 1))]
            for each in kinds:
                with suppress(psycopg.errors.DuplicateFunction), connection.transaction():
                    function(name, each, returned)
                    made += 1
    for (left, right), (sign, returned) in product(product(_OPERANDS, repeat=2), _SIGNS.items()):
        with suppress(psycopg.Error), connection.transaction():
            function(f"planted_{made}", (left, right), returned)
            called = f"leftarg = {left}, rightarg = {right}, function = public.planted_{made}"
            connection.execute(f"create operator public.{sign} ({called})")
            made += 1
    return made


def ran(connection: Connection) -> bool:
    """Return whether a planted object ran."""
    return bool(connection.execute("select is_called from public.planted_ran").fetchone()[0])


@pytest.fixture(scope="module")
def planted(world: World) -> World:  # noqa: F811
    """The database of test_promises with planted objects."""
    with psycopg.connect(world.url, autocommit=True) as connection:
        assert plant(connection) > 1000
    return world


def test_planted_objects_run_if_names_are_unqualified(planted: World):
    """Planted objects run if names are unqualified, so the other tests can fail."""
    with psycopg.connect(planted.url) as connection:
        for unsafe in (
            "format('%s', 'a'::text)",
            "'a'::text || 1",
            "jsonb_build_object('a'::text, 'b'::text)",
        ):
            with pytest.raises(psycopg.Error, match="planted") as failed, connection.transaction():
                connection.execute(f"select {unsafe}")
            assert failed.value.sqlstate == "PLANT"
        connection.rollback()
        connection.execute("alter sequence public.planted_ran restart")
        connection.commit()
        assert not ran(connection)


def test_no_function_runs_planted_objects(planted: World):
    """No function runs planted code."""
    with psycopg.connect(planted.url) as connection:
        for function, statement in calls(planted):
            with suppress(psycopg.Error), connection.transaction(force_rollback=True):
                connection.execute(statement.replace("to_jsonb(found)", "found"))
            assert not ran(connection), (function, statement)


def test_no_call_or_migration_runs_planted_objects(planted: World):
    """No statement of the client or of a migration runs planted code."""
    with psycopg.connect(planted.url) as connection:
        owner = connection.execute("select nspowner::regrole::text from pg_namespace where nspname = 'pgretrieval'").fetchone()
    assert owner is not None
    with open_database(psycopg.conninfo.make_conninfo(planted.url, options=f"-crole={owner[0]}")) as database:
        database.migrate()
    with psycopg.connect(planted.url, autocommit=True) as connection, pgretrieval.connect(planted.url) as database:
        assert not ran(connection)
        encoder = HashedEncoder()
        docs = database.create_collection("planted", encoder=encoder)
        passages = [{"id": str(n), "text": f"word{n % 7} common {n}", "metadata": {"n": n}} for n in range(60)]
        docs.add(passages)
        docs.build()
        docs.add([{"id": "later", "text": "word1 later"}])
        docs.update([{"id": "1", "text": "word1 changed", "metadata": {"n": 1.5}}])
        docs.delete(["2"])
        docs.delete(where={"n": 3})
        assert docs.search("word1 common", k=5, where={"n": {"$gte": 1}})
        assert docs.text_search("word1", k=5, among=["1", "later"])
        docs.hybrid_search("word1", k=5)
        docs.explain("word1")
        docs.get(["1"])
        docs.stats()
        docs.compact()
        docs.rebuild()
        assert docs.check() == []
        connection.execute("create table public.followed (id text primary key, body text)")
        connection.execute("insert into public.followed values ('1', 'one'), ('2', 'two')")
        database.create_collection("follows", encoder=encoder)
        database.attach("follows", "public.followed", text="body")
        connection.execute("update public.followed set body = 'three' where id = '1'")
        assert database.work([database.get_collection("follows", encoder=encoder)]).written >= 2
        database.resync("follows")
        database.detach("follows")
        database.diagnose()
        query = vector_array(encoder.encode_query(["word1 common"])[0])
        connection.execute("select * from pgretrieval.search('planted', %s::public.vector[], k => 3)", [query])
        for name in ("planted", "follows"):
            database.drop_collection(name)
        assert not ran(connection)


def test_no_installation_runs_planted_objects(postgres: PostgresUnderTest):
    """A first installation runs no code planted before it."""
    url = postgres.create_database()
    try:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("drop schema if exists pgretrieval cascade")
            plant(connection)
            with open_database(url) as database:
                database.migrate()
            assert not ran(connection)
    finally:
        postgres.drop_database(url)
