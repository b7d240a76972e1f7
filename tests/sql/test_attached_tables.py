"""Attached tables of other owners: triggers never make writers fail or wait, and owners run no code as the worker."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

import pgretrieval
from tests.fixtures.postgres import PostgresUnderTest
from tests.support.encoder import HashedEncoder
from tests.support.own_server import own_server

pytestmark = pytest.mark.both_versions

Connection = psycopg.Connection[Any]
SETTINGS = [
    "DateStyle=ISO, YMD",
    "TimeZone=UTC",
    "IntervalStyle=postgres",
    "extra_float_digits=1",
    "bytea_output=hex",
    "lc_monetary=C",
]
ODD_SESSION = """set timezone = 'Asia/Tokyo'; set datestyle = 'SQL, DMY'; set intervalstyle = 'iso_8601';
                 set extra_float_digits = 0; set bytea_output = 'escape'"""


@pytest.fixture
def docs(database: pgretrieval.RetrievalDatabase) -> pgretrieval.Collection:
    return database.create_collection("docs", encoder=HashedEncoder())


def kept(connection: Connection) -> list[str]:
    return [key for (key,) in connection.execute("select key from pgretrieval.passage order by 1").fetchall()]


# ---- one form of keys


def test_functions_that_write_keys_agree_on_their_form(connection: Connection):
    """All functions that write keys fix the same settings."""
    named = ("queue_change", "source_rows", "expand_queue", "resync", "attach", "check_queue")
    for name in named:
        found = connection.execute(
            "select proconfig from pg_proc where pronamespace = 'pgretrieval'::regnamespace and proname = %s", [name]
        ).fetchone()
        assert set(SETTINGS) <= set(found[0]), name


@pytest.mark.parametrize(
    ("kind", "first", "second"),
    [
        ("timestamptz", "2024-01-01 00:00+00", "2024-01-02 00:00+00"),
        ("timestamp", "2024-01-01 00:00", "2024-04-03 00:00"),
        ("date", "2024-04-03", "2024-03-04"),
        ("timetz", "10:00+00", "11:00+02"),
        ("float8", "0.5", "0.30000000000000004"),
        ("float4", "0.5", "0.1"),
        ("bytea", "\\x00", "\\x01ff"),
        ("interval", "1 day", "3 days 4 hours"),
        ("money", "1.50", "1234.56"),
        ("daterange", "[2024-04-03,2024-04-05)", "[2024-03-04,2024-03-05)"),
        ("timestamptz[]", "{2024-01-01 00:00+00}", "{2024-01-02 00:00+00}"),
        ("char(5)", "a", "b"),
        ("numeric(6,2)", "1.5", "2.25"),
    ],
)
def test_a_key_is_the_same_under_all_settings(
    database: pgretrieval.RetrievalDatabase,
    docs: pgretrieval.Collection,
    connection: Connection,
    kind: str,
    first: str,
    second: str,
):
    """A key has the same text under all session settings."""
    connection.execute(f"create table t (id {kind} primary key, body text)")
    connection.execute(f"insert into t values (%s::text::{kind}, 'one')", [first])
    database.attach("docs", "public.t", text="body")
    database.work([docs])
    connection.execute(ODD_SESSION.replace("DMY", "YMD") if kind == "money" else "select")
    with connection.transaction():
        connection.execute(f"insert into t values (%s::text::{kind}, 'two')", [second])
    connection.execute(ODD_SESSION)
    connection.execute("update t set body = body || ' again'")
    database.work([docs])
    assert docs.stats()["passages"] == 2
    assert docs.check() == []
    keys = kept(connection)
    connection.execute(
        "reset all; set datestyle = 'ISO, YMD'; set timezone = 'UTC'; set intervalstyle = 'postgres'; set lc_monetary = 'C'"
    )
    assert keys == sorted(key for (key,) in connection.execute("select format('%s', id) from t").fetchall())
    connection.execute(ODD_SESSION)
    connection.execute("delete from t where body like 'one%'")
    database.work([docs])
    assert docs.stats()["passages"] == 1
    database.resync("docs")
    database.work([docs])
    assert (docs.stats()["passages"], docs.check()) == (1, [])


def test_metadata_and_texts_are_the_same_under_all_settings(
    database: pgretrieval.RetrievalDatabase, docs: pgretrieval.Collection, connection: Connection, database_url: str
):
    """Metadata and texts are the same under all session settings."""
    connection.execute("create table t (id integer primary key, body timestamptz, at timestamptz, n float8)")
    connection.execute("insert into t values (1, '2024-01-01 00:30+00', '2024-01-01 00:30+00', 0.30000000000000004)")
    forms = []
    for option in ("TimeZone=UTC", "TimeZone=America/New_York", "extra_float_digits=-5"):
        with pgretrieval.connect(f"{database_url}{'&' if '?' in database_url else '?'}options={quote(f'-c {option}')}") as other:
            mine = other.get_collection("docs", encoder=HashedEncoder())
            other.attach("docs", "public.t", text="body", metadata=["at", "n"])
            other.work([mine])
            forms += connection.execute("select body, metadata from pgretrieval.passage").fetchall()
            other.detach("docs")
            mine.delete(["1"])
    assert forms == [("2024-01-01 00:30:00+00", {"at": "2024-01-01T00:30:00+00:00", "n": 0.30000000000000004})] * 3


# ---- writers


def test_long_keys_are_written_and_parked(
    database: pgretrieval.RetrievalDatabase, docs: pgretrieval.Collection, connection: Connection
):
    """Long keys are queued and parked without an error for the application."""
    long = "".join(chr(0x4E00 + number % 20000) for number in range(0, 60000, 7))[:4000]
    connection.execute("create table t (id text, body text); create index on t using hash (id)")
    database.attach("docs", "public.t", text="body")
    connection.execute("insert into t values (%s, 'long'), ('short', 'tea')", [long])
    report = database.work([docs])
    assert (report.written, report.parked, report.postponed) == (1, 1, 0)
    (parked,) = docs.stats()["parked_keys"]
    assert parked["key"] == long
    assert "has 12,000 bytes" in parked["error"]
    assert "2,000" in parked["error"]
    assert docs.stats()["queued"] == 0
    connection.execute("update t set id = 'tidy' where id = %s", [long])
    database.work([docs])
    assert kept(connection) == ["short", "tidy"]
    assert docs.stats()["parked"] == 0


def test_long_keys_of_a_query_are_parked(
    database: pgretrieval.RetrievalDatabase, docs: pgretrieval.Collection, connection: Connection
):
    """Long keys of a query's rows are parked."""
    long = "".join(chr(0x4E00 + number % 20000) for number in range(0, 60000, 7))[:4000]
    connection.execute("create table t (id text, body text)")
    connection.execute("insert into t values (%s, 'long'), ('short', 'tea')", [long])
    with pytest.warns(pgretrieval.PgRetrievalWarning, match="no index"):
        database.attach("docs", "public.t", text="body", query="select md5(id) as id, id as key, body from public.t")
    report = database.work([docs])
    assert (report.written, report.parked, report.postponed) == (1, 1, 0)
    assert "has 12,000 bytes" in docs.stats()["parked_keys"][0]["error"]


@pytest.mark.parametrize("version", [16, 18])
def test_writers_may_prepare_their_transactions(version: int):
    """Writers can prepare their transactions."""
    with own_server(version) as server:
        server.settings(max_prepared_transactions="2")
        server.stop()
        server.start()
        with pgretrieval.connect(server.url) as database, psycopg.connect(server.url, autocommit=True) as connection:
            docs = database.create_collection("docs", encoder=HashedEncoder())
            connection.execute("create table t (id integer primary key, body text)")
            database.attach("docs", "public.t", text="body")
            database.work([docs])
            connection.execute("begin; insert into t values (1, 'tea'); prepare transaction 'one'")
            assert database.work([docs]).written == 0
            connection.execute("commit prepared 'one'")
            assert database.work([docs]).written == 1


def test_tables_that_others_inherit_from_are_refused(
    database: pgretrieval.RetrievalDatabase, docs: pgretrieval.Collection, connection: Connection
):
    """A table that others inherit from is refused."""
    connection.execute("create table t (id integer primary key, body text); create table child () inherits (t)")
    with pytest.raises(pgretrieval.ConfigError, match=r"tables inherit from public\.t.*partitioned"):
        database.attach("docs", "public.t", text="body")
    connection.execute("drop table child")
    database.attach("docs", "public.t", text="body")
    connection.execute(
        "create table child () inherits (t); insert into child values (1, 'not told'); insert into t values (2, 'told')"
    )
    database.resync("docs")
    database.work([docs])
    assert kept(connection) == ["2"]
    assert docs.check() == []


# ---- owners


@pytest.fixture
def stranger(postgres: PostgresUnderTest, connection: Connection) -> Iterator[Connection]:
    """The owner of the table `app.t`, which the superuser's workers read, without other rights."""
    name, password = postgres.create_role()
    identifier = sql.Identifier(name)
    connection.execute(sql.SQL("create schema app authorization {}").format(identifier))
    database_name = conninfo_to_dict(connection.info.dsn)["dbname"]
    with psycopg.connect(postgres.url_of(database_name, name, password), autocommit=True) as own:
        own.execute("create table app.t (id text primary key, body text, meta text); insert into app.t values ('1', 'one', 'm')")
        own.execute(
            """create function app.run(text) returns text language plpgsql as $$
               begin raise exception 'run as %', current_user using errcode = 'XX999'; end $$"""
        )
        yield own
    connection.execute(sql.SQL("drop schema app cascade; drop owned by {}").format(identifier))


EVIL = """
    create type app.evil as (t text);
    create type app.mood as enum ('one', 'two');
    create domain app.named as text;
    create function app.run(app.evil) returns text language sql as 'select app.run(($1).t)';
    create function app.run_json(app.evil) returns json language sql as 'select to_json(app.run(($1).t))';
    create function app.run(app.mood) returns text language sql as 'select app.run(''mood''::text)';
    create function app.run_json(app.mood) returns json language sql as 'select to_json(app.run(''mood''::text))';
    create function app.run(app.mood[]) returns text language sql as 'select app.run(''moods''::text)';
    create function app.run_json(app.mood[]) returns json language sql as 'select to_json(app.run(''moods''::text))';
    create function app.run(app.named[]) returns text language sql as 'select app.run(''domain''::text)';
    create cast (app.evil as text) with function app.run(app.evil) as implicit;
    create cast (app.evil as json) with function app.run_json(app.evil);
    create cast (app.mood as text) with function app.run(app.mood) as implicit;
    create cast (app.mood as json) with function app.run_json(app.mood);
    create cast (app.mood[] as text) with function app.run(app.mood[]) as implicit;
    create cast (app.mood[] as json) with function app.run_json(app.mood[]);
    create cast (app.named[] as text) with function app.run(app.named[]) as implicit;
"""
"""Every cast that a column's owner can define calls `app.run`, which raises."""

TYPES = {
    "app.evil": ("row('one')", "(one)", "(one)"),
    "app.mood": ("'one'", "one", "one"),
    "app.mood[]": ("'{one,two}'", "{one,two}", ["one", "two"]),
    "app.named": ("'one'", "one", "one"),
    "app.named[]": ("'{one}'", "{one}", ["one"]),
    "integer[]": ("'{1,2}'", "{1,2}", [1, 2]),
    "boolean": ("true", "true", True),
}


@pytest.mark.parametrize("kind", list(TYPES))
@pytest.mark.parametrize("column", ["id", "body", "meta"])
def test_the_owner_of_an_attached_table_runs_no_code_as_the_worker(
    database: pgretrieval.RetrievalDatabase, docs: pgretrieval.Collection, stranger: Connection, kind: str, column: str
):
    """A cast of the table owner's type does not run as the worker."""
    database.attach("docs", "app.t", text="body", metadata=["meta"])
    stranger.execute(EVIL)
    value, text, json = TYPES[kind]
    stranger.execute(f"alter table app.t drop column {column}; alter table app.t add column {column} {kind}")
    stranger.execute(f"update app.t set {column} = {value}")
    stranger.execute("alter domain app.named add check (app.run(value) is null) not valid")
    database.resync("docs")
    database.work([docs])
    (key, body, metadata) = stranger_view(database)
    assert {"id": key, "body": body, "meta": metadata["meta"]}[column] == (
        json if column == "meta" else text if column == "body" else key
    )
    assert docs.check() == []


def stranger_view(database: pgretrieval.RetrievalDatabase) -> tuple[str, str, dict[str, Any]]:
    """The one passage, read by a superuser."""
    with psycopg.connect(database.url) as connection:
        (found,) = connection.execute("select key, body, metadata from pgretrieval.passage where metadata ? 'meta'").fetchall()
    return found


def test_policies_of_an_attached_table_are_not_run(
    database: pgretrieval.RetrievalDatabase,
    docs: pgretrieval.Collection,
    stranger: Connection,
    connection: Connection,
    postgres: PostgresUnderTest,
):
    """Policies of an attached table raise an error and do not run."""
    name, password = postgres.create_role()
    database.attach("docs", "app.t", text="body")
    stranger.execute(
        "create policy mine on app.t using (app.run(body) is null); alter table app.t enable row level security;"
        f"grant usage on schema app to {name}; grant select on app.t to {name}"
    )
    connection.execute(f"grant usage on schema pgretrieval to {name}; grant all on all tables in schema pgretrieval to {name}")
    try:
        url = postgres.url_of(conninfo_to_dict(connection.info.dsn)["dbname"], name, password)
        with (
            pgretrieval.connect(url) as restricted,
            pytest.raises(pgretrieval.PgRetrievalError, match=r"row-level security hides rows of app\.t"),
        ):
            restricted.work([restricted.get_collection("docs", encoder=HashedEncoder())])
    finally:
        connection.execute(f"drop owned by {name}")
    assert database.work([docs]).written == 1
