"""Errors of the server: absent, killed, incomplete, or with another schema."""

from __future__ import annotations

import itertools
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import psycopg
import pytest

import pgretrieval
from pgretrieval import DatabaseUnavailableError, ExtensionError, SchemaError
from pgretrieval.database import open_database
from pgretrieval.db import schema
from pgretrieval.db.tables import passages as stored_passages
from tests.fixtures.collections import Corpus
from tests.fixtures.postgres import PostgresUnderTest
from tests.support.encoder import HashedEncoder
from tests.support.vectors import clustered, passages


def execute(url: str, statement: str, parameters: Any = None) -> list[tuple[Any, ...]]:
    """Run a statement on its own connection."""
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement, parameters)
        return cursor.fetchall() if cursor.description else []


def kill_other_connections(url: str) -> None:
    """End all other connections, as a restart of the server does."""
    execute(
        url,
        "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()",
    )


@pytest.fixture
def unused_port() -> int:
    """A port without a listener."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# ---- no server


def test_a_server_that_is_down_is_said_at_once(unused_port: int):
    """Connecting to a stopped server fails at once with its address and without the password."""
    started = time.monotonic()
    with pytest.raises(DatabaseUnavailableError) as raised:
        pgretrieval.connect(url=f"postgresql://someone:secret@127.0.0.1:{unused_port}/shop")
    assert time.monotonic() - started < 3
    assert f"127.0.0.1:{unused_port}, database 'shop'" in str(raised.value)
    assert "start the server or check the url" in str(raised.value).lower()
    assert "secret" not in str(raised.value)


def test_a_missing_database(postgres: PostgresUnderTest):
    """A missing database raises an error of the package."""
    with pytest.raises(DatabaseUnavailableError, match="no_such_database"):
        pgretrieval.connect(url=postgres.url_of("no_such_database"))


@pytest.mark.parametrize("url", ["mysql://localhost/x", "postgresql://host:notaport/x", "nonsense", ""])
def test_a_url_that_is_none(url: str):
    """An invalid URL raises an error and connects to nothing."""
    with pytest.raises(pgretrieval.PgRetrievalError):
        pgretrieval.connect(url=url)


def test_sqlalchemys_spelling_of_a_url(database_url: str):
    """postgresql+psycopg:// URLs are accepted."""
    with pgretrieval.connect(url=database_url.replace("postgresql://", "postgresql+psycopg://")) as database:
        assert database.list_collections() == []


def test_the_environment_names_the_database(database_url: str, monkeypatch: pytest.MonkeyPatch):
    """PGRETRIEVAL_DATABASE_URL is used, and a conflict with an argument is an error."""
    monkeypatch.setenv("PGRETRIEVAL_DATABASE_URL", database_url)
    with pgretrieval.connect() as database:
        assert (database.url, database.data_dir) == (database_url, None)
    monkeypatch.setenv("PGRETRIEVAL_DATA_DIR", "/nowhere")
    with pytest.raises(pgretrieval.ConfigError, match="both PGRETRIEVAL_DATABASE_URL and PGRETRIEVAL_DATA_DIR are set"):
        pgretrieval.connect()
    with pytest.raises(pgretrieval.ConfigError, match="both a URL and a data directory"):
        pgretrieval.connect(url=database_url, data_dir="/nowhere")


# ---- lost connections


def killing_source(url: str, count: int, at: int) -> Iterator[dict[str, Any]]:
    """Passages; when the one at `at` is requested, every other connection is killed."""
    for number, passage in enumerate(passages(count)):
        if number == at:
            kill_other_connections(url)
        yield passage


@pytest.mark.parametrize("at", [0, 1024, 2047])
def test_a_connection_lost_while_passages_are_taken_is_replaced(database_url: str, at: int):
    """An add replaces a connection lost before it is needed."""
    with pgretrieval.connect(url=database_url) as database:
        docs = database.create_collection("docs")
        assert docs.add(killing_source(database_url, 2100, at), vectors=clustered(2100, tokens=(1, 3))).passages == 2100


@pytest.mark.parametrize("at", [0, 2, 4])
@pytest.mark.parametrize("built", [False, True])
def test_a_connection_lost_in_the_middle_of_add(database_url: str, at: int, built: bool, monkeypatch: pytest.MonkeyPatch):
    """A connection lost during an add raises an error and stores nothing; the next call works."""
    written, copying = itertools.count(), stored_passages.copy

    def copy(*arguments: Any) -> None:
        if next(written) == at:
            kill_other_connections(database_url)
        copying(*arguments)

    vectors = clustered(2100, tokens=(1, 3))
    with pgretrieval.connect(url=database_url) as database:
        docs = database.create_collection("docs")
        if built:
            docs.add(passages(20, start=5000), vectors=clustered(20))
            docs.build()
        before = docs.stats()["passages"]
        monkeypatch.setattr(stored_passages, "copy", copy)
        with pytest.raises(DatabaseUnavailableError, match=r"adding to collection 'docs' failed.*Nothing of this call was stored"):
            docs.add(passages(2100), vectors=vectors)
        assert docs.stats()["passages"] == before
        assert docs.add(passages(2100), vectors=vectors).passages == 2100
        docs.build()
        assert docs.stats()["passages"] == before + 2100
        assert len(docs.search(vectors=vectors[0], k=3000)) == before + 2100


def test_a_connection_lost_while_searching_is_replaced(database_url: str, corpus: Corpus):
    """A connection lost while idle is replaced."""
    with pgretrieval.connect(url=database_url) as database:
        docs = database.create_collection("docs")
        docs.add(corpus.passages, vectors=corpus.vectors)
        docs.build()
        before = docs.search(vectors=corpus.queries[0])
        kill_other_connections(database_url)
        assert docs.search(vectors=corpus.queries[0]) == before


@pytest.mark.parametrize("stage", ["train", "code", "index"])
def test_a_connection_lost_in_the_middle_of_build(database_url: str, corpus: Corpus, stage: str):
    """A connection lost during a build leaves no lock, and the next build cleans up."""

    def kill(name: str, _done: int, _total: int) -> None:
        if name == stage and killed.acquire(blocking=False):
            kill_other_connections(database_url)

    killed = threading.Semaphore(1)
    with pgretrieval.connect(url=database_url) as database:
        docs = database.create_collection("docs")
        docs.add(corpus.passages, vectors=corpus.vectors)
        with pytest.raises(DatabaseUnavailableError, match="building collection 'docs' failed"):
            docs.build(stage=kill)
        docs.build()
        assert execute(database_url, "select count(*) from pgretrieval.codebook") == [(1,)]
        assert docs.search(vectors=corpus.vectors[3], k=1)[0].id == "p3"


def test_a_build_whose_lock_was_lost_changes_nothing(database_url: str, corpus: Corpus):
    """A build that lost its lock does not switch, so no concurrent add is lost."""

    def kill(name: str, _done: int, _total: int) -> None:
        if name == "index":
            execute(
                database_url,
                r"""select pg_terminate_backend(pid) from pg_locks
                   where relation::regclass::text ~ '[.]build_lock_'
                     and database = (select oid from pg_database where datname = current_database())""",
            )

    with pgretrieval.connect(url=database_url) as database:
        docs = database.create_collection("docs")
        docs.add(corpus.passages, vectors=corpus.vectors)
        with pytest.raises(DatabaseUnavailableError, match="building collection 'docs' failed"):
            docs.build(stage=kill)
        assert docs.stats()["built"] is False
        assert docs.stats()["waiting_for_build"] == len(corpus.passages)
        assert docs.build().built
        assert docs.search(vectors=corpus.vectors[3], k=1)[0].id == "p3"


# ---- a missing, older, newer or forbidden schema


@pytest.mark.both_versions
def test_a_database_without_the_schema_names_the_command(empty_database_url: str):
    """`connect` does not migrate a server and names the command to run."""
    with pytest.raises(SchemaError, match=r"no pgretrieval schema.*pgretrieval --database URL migrate"):
        pgretrieval.connect(url=empty_database_url)
    assert execute(empty_database_url, "select count(*) from pg_namespace where nspname = 'pgretrieval'") == [(0,)]


def test_a_database_newer_than_the_client_is_refused(database_url: str):
    """An old client refuses a newer schema."""
    execute(database_url, "update pgretrieval.schema_version set version_num = '9999'")
    with pytest.raises(SchemaError, match=r"revision 9999, newer than this client.*pip install --upgrade pgretrieval"):
        pgretrieval.connect(url=database_url)
    with open_database(database_url) as database, pytest.raises(SchemaError, match="revision 9999, newer"):
        database.migrate()
    assert execute(database_url, "select version_num from pgretrieval.schema_version") == [("9999",)]


def test_an_emptied_version_table_counts_as_no_schema(database_url: str):
    """An empty version table counts as a missing schema."""
    execute(database_url, "delete from pgretrieval.schema_version")
    with pytest.raises(SchemaError, match="migrate"):
        pgretrieval.connect(url=database_url)


def test_an_older_schema_names_the_command(database_url: str, monkeypatch: pytest.MonkeyPatch):
    """A newer client refuses an older schema and names the command to run."""
    monkeypatch.setattr(schema, "head_revision", lambda: "0199")
    with pytest.raises(SchemaError, match=r"at revision 0100, this client needs 0199.*pgretrieval --database URL migrate"):
        pgretrieval.connect(url=database_url)


def test_a_schema_that_lost_a_table(database_url: str):
    """A missing table raises an error of the package."""
    with pgretrieval.connect(url=database_url) as database:
        execute(database_url, "drop table pgretrieval.posting cascade")
        with pytest.raises(SchemaError, match=r"creating collection 'docs' failed.*Run `pgretrieval migrate`"):
            database.create_collection("docs", dim=64)


def test_pgvector_is_not_created_and_the_role_may_not(postgres: PostgresUnderTest, empty_database_url: str):
    """The error names who can create pgvector, and how."""
    name, password = postgres.create_role()
    url = postgres.url_of(psycopg.conninfo.conninfo_to_dict(empty_database_url)["dbname"], name, password)
    with open_database(url) as database, pytest.raises(ExtensionError) as raised:
        database.migrate()
    assert name in str(raised.value)
    assert "Ask an administrator to run CREATE EXTENSION vector" in str(raised.value)


def test_pgvector_is_too_old(empty_database_url: str):
    """pgvector without halfvec indexes is refused before the installation."""
    execute(empty_database_url, "create extension vector")
    execute(empty_database_url, "update pg_extension set extversion = '0.7.4' where extname = 'vector'")
    with open_database(empty_database_url) as database, pytest.raises(ExtensionError, match=r"0\.7\.4 is too old.*ALTER EXTENSION"):
        database.migrate()
    assert execute(empty_database_url, "select count(*) from pg_namespace where nspname = 'pgretrieval'") == [(0,)]


@pytest.mark.parametrize("version", ["0.8.0", "0.8.5-dev", "0.10", "1.0"])
def test_newer_spellings_of_pgvectors_version(empty_database_url: str, version: str):
    """Versions such as 0.10 and suffixes are compared correctly."""
    execute(empty_database_url, "create extension vector")
    execute(empty_database_url, "update pg_extension set extversion = %s where extname = 'vector'", [version])
    with open_database(empty_database_url) as database:
        database.migrate()


def test_no_right_to_create_the_schema(postgres: PostgresUnderTest, empty_database_url: str):
    """The error for a missing right to create the schema names the grant."""
    execute(empty_database_url, "create extension vector")
    name, password = postgres.create_role()
    url = postgres.url_of(psycopg.conninfo.conninfo_to_dict(empty_database_url)["dbname"], name, password)
    with open_database(url) as database, pytest.raises(SchemaError, match="GRANT CREATE ON DATABASE") as raised:
        database.migrate()
    assert not isinstance(raised.value, ExtensionError)


def test_a_role_without_rights_on_the_schema(postgres: PostgresUnderTest, database_url: str):
    """A role without rights gets an error of the package."""
    name, password = postgres.create_role()
    url = postgres.url_of(psycopg.conninfo.conninfo_to_dict(database_url)["dbname"], name, password)
    with pytest.raises(SchemaError, match="this role lacks a right"):
        pgretrieval.connect(url=url)


@pytest.mark.parametrize("schema_name", ["100%", "it's", 'a "b"', "$x", "@x"])
def test_pgvector_in_a_schema_that_cannot_be_quoted_everywhere(empty_database_url: str, schema_name: str):
    """A schema of pgvector whose name would need quoting is refused with the remedy."""
    quoted = schema_name.replace('"', '""')
    execute(empty_database_url, f'create schema "{quoted}"')
    execute(empty_database_url, f'create extension vector schema "{quoted}"')
    with (
        open_database(empty_database_url) as database,
        pytest.raises(ExtensionError, match="ALTER EXTENSION vector SET SCHEMA") as raised,
    ):
        database.migrate()
    assert schema_name.replace('"', '""') in str(raised.value)


def test_a_role_that_may_not_use_pgvectors_schema_does_not_install(postgres: PostgresUnderTest, empty_database_url: str):
    """A role without usage of pgvector's schema gets an error that names the grant."""
    name, password = postgres.create_role()
    execute(empty_database_url, "create schema hidden")
    execute(empty_database_url, "create extension vector schema hidden")
    database_name = psycopg.conninfo.conninfo_to_dict(empty_database_url)["dbname"]
    postgres.execute("grant create on database {} to {}", database_name, name)
    with (
        open_database(postgres.url_of(database_name, name, password)) as database,
        pytest.raises(ExtensionError, match=f"GRANT USAGE ON SCHEMA hidden TO {name}"),
    ):
        database.migrate()
    execute(empty_database_url, f"drop owned by {name}")


def test_a_reader_without_pgvectors_schema_gets_the_grant(postgres: PostgresUnderTest, empty_database_url: str):
    """`connect` and doctor name the missing grant on pgvector's schema."""
    name, password = postgres.create_role()
    execute(empty_database_url, "create schema extensions; create extension vector schema extensions")
    open_and_migrate(empty_database_url)
    execute(
        empty_database_url,
        f"grant usage on schema pgretrieval to {name}; grant select on all tables in schema pgretrieval to {name}",
    )
    url = postgres.url_of(str(psycopg.conninfo.conninfo_to_dict(empty_database_url)["dbname"]), name, password)
    grant = f"GRANT USAGE ON SCHEMA extensions TO {name}"
    with pytest.raises(ExtensionError, match=grant):
        pgretrieval.connect(url)
    with open_database(url) as database:
        assert [finding.level for finding in database.diagnose() if grant in finding.text] == ["problem"]
    execute(empty_database_url, grant)
    with pgretrieval.connect(url) as database:
        assert database.list_collections() == []
        assert not [finding for finding in database.diagnose() if finding.level == "problem"]
    execute(empty_database_url, f"drop owned by {name}")


# ---- a schema of that name exists

_PLANTED = {
    "nothing": "select 1",
    "function": "create function pgretrieval.known_collection(name text) returns integer language sql as 'select 1'",
    "table": "create table pgretrieval.passage (title text)",
    "trigger": """
        create table pgretrieval.schema_version (version_num varchar(32) not null);
        insert into pgretrieval.schema_version values ('0001');
        create function pgretrieval.become() returns trigger language plpgsql as
            $$ begin execute 'create role risen'; return null; end $$;
        create trigger become after delete on pgretrieval.schema_version execute function pgretrieval.become()
    """,
}


@pytest.fixture
def stranger(postgres: PostgresUnderTest, empty_database_url: str) -> Iterator[Any]:
    """A role that created the schema before the installation; runs statements as that role."""
    name, password = postgres.create_role()
    database_name = str(psycopg.conninfo.conninfo_to_dict(empty_database_url)["dbname"])
    execute(empty_database_url, "create extension vector")
    execute(empty_database_url, f"create schema pgretrieval authorization {name}")
    yield postgres.url_of(database_name, name, password)
    execute(empty_database_url, f"drop owned by {name} cascade")


@pytest.mark.both_versions
@pytest.mark.parametrize("planted", _PLANTED)
def test_a_schema_of_a_stranger_is_not_taken_over(empty_database_url: str, stranger: str, planted: str):
    """A schema of another role is refused, because its objects would run as the installer."""
    execute(stranger, _PLANTED[planted])
    owner = psycopg.conninfo.conninfo_to_dict(stranger)["user"]
    for install in (
        lambda: execute(empty_database_url, schema.as_sql()),
        lambda: open_and_migrate(empty_database_url),
    ):
        with pytest.raises((SchemaError, psycopg.Error), match=f"the schema pgretrieval belongs to role {owner}") as raised:
            install()
        assert "OWNER TO" in str(raised.value)
        assert getattr(raised.value, "sqlstate", "PGR01") == "PGR01"
    assert execute(empty_database_url, "select count(*) from pg_roles where rolname = 'risen'") == [(0,)]
    assert execute(empty_database_url, "select to_regclass('pgretrieval.codebook')") == [(None,)]


def open_and_migrate(url: str) -> None:
    """Open and migrate, as the command does."""
    with open_database(url) as database:
        database.migrate()


@pytest.mark.both_versions
def test_a_schema_that_was_made_for_the_role_is_installed_into(postgres: PostgresUnderTest, empty_database_url: str, stranger: str):
    """A schema created for the role, or for one that it is a member of, is accepted."""
    owner = psycopg.conninfo.conninfo_to_dict(stranger)["user"]
    name, password = postgres.create_role()
    other = postgres.url_of(str(psycopg.conninfo.conninfo_to_dict(empty_database_url)["dbname"]), name, password)
    with pytest.raises(SchemaError, match="belongs to role"):
        open_and_migrate(other)
    execute(empty_database_url, f"grant {owner} to {name}")
    open_and_migrate(other)
    execute(empty_database_url, f"drop owned by {name} cascade")
    execute(empty_database_url, f"drop schema if exists pgretrieval cascade; create schema pgretrieval authorization {owner}")
    open_and_migrate(stranger)
    open_and_migrate(stranger)
    with pytest.raises(SchemaError, match=f"options=-crole={owner}"):
        open_and_migrate(empty_database_url)
    open_and_migrate(f"{empty_database_url}&options=-crole%3D{owner}")
    with pgretrieval.connect(stranger) as database:
        assert database.list_collections() == []


def test_objects_of_a_stranger_in_our_schema_are_refused(empty_database_url: str, stranger: str):
    """Objects of another role in the schema are refused."""
    owner = psycopg.conninfo.conninfo_to_dict(stranger)["user"]
    execute(empty_database_url, f"alter schema pgretrieval owner to current_user; grant create on schema pgretrieval to {owner}")
    execute(stranger, "create function pgretrieval.planted(text, integer) returns text language sql as 'select null::text'")
    with pytest.raises(SchemaError, match=rf"function pgretrieval.planted\(text,integer\) .* belongs to role {owner}.*drop it"):
        open_and_migrate(empty_database_url)
    execute(empty_database_url, "drop function pgretrieval.planted")
    open_and_migrate(empty_database_url)
    with pgretrieval.connect(empty_database_url) as database:
        assert database.list_collections() == []


@pytest.mark.both_versions
@pytest.mark.parametrize("extension_schema", ["public", "Odd Schema"])
def test_the_right_to_create_in_the_database_is_enough(
    postgres: PostgresUnderTest, empty_database_url: str, corpus: Corpus, extension_schema: str
):
    """CREATE on the database is sufficient to install, with pgvector in any schema."""
    database_name = psycopg.conninfo.conninfo_to_dict(empty_database_url)["dbname"]
    name, password = postgres.create_role()
    execute(empty_database_url, f'create schema if not exists "{extension_schema}"')
    execute(empty_database_url, f'create extension vector schema "{extension_schema}"')
    execute(empty_database_url, f'grant usage on schema "{extension_schema}" to {name}')
    postgres.execute("grant create on database {} to {}", database_name, name)
    with open_database(postgres.url_of(database_name, name, password)) as database:
        database.migrate()
    with pgretrieval.connect(url=postgres.url_of(database_name, name, password)) as database:
        docs = database.create_collection("docs")
        docs.add(corpus.passages[:200], vectors=corpus.vectors[:200])
        docs.build()
        docs.add(corpus.passages[200:], vectors=corpus.vectors[200:])
        assert docs.search(vectors=corpus.vectors[250], k=1)[0].id == "p250"
        assert docs.stats()["passages"] == 300
        assert [finding for finding in database.diagnose() if finding.level == "problem"] == []
        database.drop_collection("docs")
    execute(empty_database_url, f"drop owned by {name}")


# ---- migrating


@pytest.mark.both_versions
def test_migrating_again_changes_nothing(database_url: str, corpus: Corpus):
    """A second migration changes nothing."""
    with pgretrieval.connect(url=database_url) as database:
        docs = database.create_collection("docs")
        docs.add(corpus.passages, vectors=corpus.vectors)
        docs.build()
        before = execute(database_url, "select count(*) from pg_class"), docs.search(vectors=corpus.queries[0])
        for _ in range(2):
            assert database.migrate() == schema.head_revision()
        assert (execute(database_url, "select count(*) from pg_class"), docs.search(vectors=corpus.queries[0])) == before


def test_threads_migrate_at_once(empty_database_url: str):
    """Migrations in several threads do not conflict."""
    failures: list[BaseException] = []
    ready = threading.Barrier(6)

    def migrating() -> None:
        try:
            with open_database(empty_database_url) as database:
                ready.wait()
                database.migrate()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=migrating) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert execute(empty_database_url, "select version_num from pgretrieval.schema_version") == [(schema.head_revision(),)]


def test_processes_migrate_at_once(empty_database_url: str):
    """Migrations in several processes do not conflict."""
    code = "import sys; from pgretrieval.database import open_database\nwith open_database(sys.argv[1]) as d: d.migrate()"
    running = [subprocess.Popen([sys.executable, "-c", code, empty_database_url]) for _ in range(2)]
    assert [process.wait(60) for process in running] == [0, 0]
    assert execute(empty_database_url, "select version_num from pgretrieval.schema_version") == [(schema.head_revision(),)]


def test_migrating_while_searches_and_adds_go_on(database_url: str):
    """Replacing functions neither breaks nor deadlocks running calls."""
    failures: list[BaseException] = []
    done = threading.Event()
    with pgretrieval.connect(url=database_url) as database:
        docs = database.create_collection("docs", encoder=HashedEncoder())
        docs.add([{"id": f"a{i}", "text": f"alpha{i} one"} for i in range(30)])
        docs.build()

        def working(number: int) -> None:
            rounds = 0
            while not done.is_set():
                try:
                    assert docs.search("alpha3 one", k=1)[0].id == "a3"
                    docs.add([{"id": f"{number}-{rounds}", "text": "one more"}])
                    rounds += 1
                except BaseException as error:  # noqa: PERF203
                    failures.append(error)
                    return

        threads = [threading.Thread(target=working, args=[number]) for number in range(2)]
        for thread in threads:
            thread.start()
        for _ in range(4):
            database.migrate()
        done.set()
        for thread in threads:
            thread.join()
    assert failures == []


def test_two_processes_use_one_collection(database_url: str):
    """Each process sees what the other adds or builds."""
    code = """
import sys, numpy, pgretrieval
with pgretrieval.connect(url=sys.argv[1]) as database:
    docs = database.get_collection("docs")
    docs.add([{"id": "theirs", "text": "x"}], vectors=[numpy.eye(64, dtype="f4")[:2]])
    docs.build()
"""
    with pgretrieval.connect(url=database_url) as database:
        docs = database.create_collection("docs", dim=64)
        docs.add(passages(20), vectors=clustered(20))
        subprocess.run([sys.executable, "-c", code, database_url], check=True, timeout=60)
        assert docs.search(vectors=np.eye(64)[:2], k=1)[0].id == "theirs"
