"""`create extension pgretrieval`, by the files of `pgretrieval package-extension`, does what `migrate` does."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest

import pgretrieval
from pgretrieval import assets
from pgretrieval.database import open_database
from pgretrieval.db import extension, schema
from tests.fixtures.cli import Command
from tests.fixtures.collections import Corpus
from tests.support.catalog import catalogue
from tests.support.kinds import analyze, answers, fill, same
from tests.support.packaged import Packaged, packaged
from tests.support.revisions import later_revisions
from tests.support.roles import grant, isolate_tenants, url_as

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guides" / "extension.md"
OURS = "extension pgretrieval"
_STRANGERS = """
select pg_describe_object(classid, objid, 0) from (
    select 'pg_class'::regclass as classid, oid as objid from pg_class
    where relnamespace = 'pgretrieval'::regnamespace and relkind in ('r', 'p', 'v', 'S') and not relispartition
      and relname !~ '_[0-9]+$'  -- sequences of collections
    union all
    select 'pg_proc'::regclass, oid from pg_proc where pronamespace = 'pgretrieval'::regnamespace
    union all
    select 'pg_namespace'::regclass, 'pgretrieval'::regnamespace
) as own
where not exists (select from pg_depend where (pg_depend.classid, pg_depend.objid, deptype) = (own.classid, own.objid, 'e'))
"""
"""What is in the schema and no member of the extension."""


@pytest.fixture(scope="module")
def servers() -> Iterator[Callable[[int], Packaged]]:
    """A server of each version, started when a test asks for it."""
    started: dict[int, Packaged] = {}
    with ExitStack() as stack:

        def get(version: int) -> Packaged:
            if version not in started:
                started[version] = stack.enter_context(packaged(version))
            return started[version]

        yield get


@pytest.fixture
def server(servers: Callable[[int], Packaged], request: pytest.FixtureRequest) -> Iterator[Packaged]:
    """A server with the extension's files of version 1.0; PostgreSQL 18 unless the test says otherwise."""
    ready = servers(getattr(request, "param", 18))
    ready.package("1.0")
    yield ready
    ready.clear()


def fresh(server: Packaged, statement: str = "create extension pgretrieval cascade") -> str:
    """The URL of a new database in which the statement has run."""
    url = server.postgres.create_database(migrated=False)
    run(url, statement)
    return url


def run(url: str, statement: str) -> list[tuple[Any, ...]]:
    """Run statements in autocommit mode and return the rows of one."""
    with psycopg.connect(url, autocommit=True) as connection:
        done = connection.execute(statement)  # type: ignore[call-overload]
        return done.fetchall() if done.description else []


both = pytest.mark.parametrize("server", [18, 16], indirect=True)


@both
def test_the_extension_has_the_catalogue_of_migrate(server: Packaged):
    """Tables, functions, policies and rights are the same, and all belong to the extension."""
    url, migrated = fresh(server), server.postgres.create_database(migrated=False)
    with open_database(migrated) as database:
        database.migrate()
    assert sorted([*catalogue(migrated), OURS]) == catalogue(url)
    assert run(url, _STRANGERS) == []
    with open_database(url) as database:
        assert schema.is_current(database._database, shared=False)  # so that `connect` leaves it as it is
        assert not [finding for finding in database.diagnose() if finding.level == "problem"]


@both
def test_a_dump_restores_by_the_steps_of_the_guide(server: Packaged, corpus: Corpus, tmp_path: Path):
    """Collections of every kind give equal hits after the guide's steps, `check` finds nothing, and changes work."""
    url, new = fresh(server), server.postgres.create_database(migrated=False)
    with pgretrieval.connect(url) as database:
        fill(database, corpus)
        database.create_collection("dropped")
        database.drop_collection("dropped")
    analyze(url)
    restore(server, url, new, tmp_path)
    assert catalogue(new) == catalogue(url)
    same(answers(new, corpus), answers(url, corpus))
    with pgretrieval.connect(new) as database:
        assert not any(database.get_collection(name).check() for name in database.list_collections())
        docs = database.get_collection("docs")
        docs.add([{"id": "later", "text": "one more"}], vectors=[corpus.vectors[50]])
        docs.compact()
        assert {hit.id for hit in docs.search(vectors=corpus.vectors[50], k=2)} == {"later", "p50"}
        database.create_collection("another").add([{"id": "1", "text": "x"}], vectors=[corpus.vectors[0]])
    run(new, "drop extension pgretrieval")
    assert run(new, "select to_regnamespace('pgretrieval')") == [(None,)]


def restore(server: Packaged, old: str, new: str, folder: Path) -> None:
    """Run the guide's block, with the programs of the server's version."""
    (steps,) = re.findall(r"```text\n(pg_dump .*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    environment = {**os.environ, "PATH": f"{server.server.bin}:{os.environ['PATH']}", "OLD": old, "NEW": new}
    done = subprocess.run(["bash", "-euc", steps], env=environment, cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_a_restored_database_shows_nothing_to_other_roles(server: Packaged, corpus: Corpus, tmp_path: Path):
    """The guide's steps restore no rights, because they restore no policies; policies and privileges can be given again."""
    url, new = fresh(server), server.postgres.create_database(migrated=False)
    roles = {name: server.postgres.create_role() for name in ("reader", "writer")}
    (owner,) = run(url, "select current_user")
    names = (roles["reader"][0], roles["writer"][0], owner[0])
    grant(url, *names)
    add_tenants(url, corpus)
    restore(server, url, new, tmp_path)
    with psycopg.connect(url_as(server.postgres, new, roles["reader"])) as connection:
        for table in ("passage", "collection", "codebook"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege), connection.transaction():
                connection.execute(f"select from pgretrieval.{table}")  # type: ignore[arg-type]
    grant(new, *names)
    with psycopg.connect(new) as connection:
        isolate_tenants(connection)
    assert seen_by(url_as(server.postgres, new, roles["reader"]), corpus) == {"p1", "p3", "p5"}


def add_tenants(url: str, corpus: Corpus) -> None:
    """Six passages of two tenants, each of which sees its own."""
    with pgretrieval.connect(url) as database:
        docs = database.create_collection("docs")
        rows = [dict(passage, metadata={"tenant": "ab"[number % 2]}) for number, passage in enumerate(corpus.passages[:6])]
        docs.add(rows, vectors=corpus.vectors[:6])
    with psycopg.connect(url) as connection:
        isolate_tenants(connection)


def seen_by(url: str, corpus: Corpus) -> set[str]:
    """Ids that a session of tenant b finds."""
    with pgretrieval.connect(url + "&options=" + "-capp.tenant%3Db") as database:
        return {hit.id for hit in database.get_collection("docs").search(vectors=corpus.queries[0], k=10)}


def test_an_upgrade_by_revisions_and_functions(server: Packaged, corpus: Corpus, tmp_path: Path):
    """An update has the catalogue of the new version, keeps collections, owns what is new, and can be dumped."""
    url = fresh(server)
    with pgretrieval.connect(url) as database:
        docs = database.create_collection("docs")
        docs.add(corpus.passages[:40], vectors=corpus.vectors[:40])
        docs.build()
        before = docs.search(vectors=corpus.queries[0])
    with later_revisions(tmp_path) as later, pytest.MonkeyPatch.context() as patched:
        with pytest.raises(
            pgretrieval.SchemaError, match=r"extension pgretrieval .*revision 0100.*needs 0102.*ALTER EXTENSION pgretrieval UPDATE"
        ):
            pgretrieval.connect(url)
        added = "create function pgretrieval.added() returns integer language sql immutable begin atomic select 1; end;"
        functions = assets.functions()
        patched.setattr(assets, "functions", lambda: [*functions, added])
        patched.setattr(assets, "functions_number", lambda: 2)
        written = [file.name for file in server.package("1.1")]
        assert written == ["pgretrieval--1.1.sql", "pgretrieval--1.0--1.1.sql", "pgretrieval.control"]
        run(url, "alter extension pgretrieval update")
        new = fresh(server)
        with pgretrieval.connect(new) as database:
            other = database.create_collection("docs")
            other.add(corpus.passages[:40], vectors=corpus.vectors[:40])
            other.build()
            run(new, "select pgretrieval.create_partition('note', 'collection_id', 1)")
        assert run(url, "select version_num from pgretrieval.schema_version") == [(later[-1],)]
        assert catalogue(url) == catalogue(new)
        assert run(url, _STRANGERS) == []
        with pgretrieval.connect(url) as database:
            assert database.get_collection("docs").search(vectors=corpus.queries[0]) == before
        restored = server.postgres.create_database(migrated=False)
        restore(server, url, restored, tmp_path)
        assert catalogue(restored) == catalogue(url)
        assert run(restored, "select count(*) from pgretrieval.note") == [(40,)]
    with pytest.raises(psycopg.errors.InvalidParameterValue, match=r'no update path from version "1\.1" to version "1\.0"'):
        run(url, "alter extension pgretrieval update to '1.0'")
    with pytest.raises(pgretrieval.SchemaError, match=r"pgretrieval--1\.1\.sql' is of a newer version.*pip install --upgrade"):
        server.package("1.0")


def test_a_newer_revision_with_the_same_functions_is_refused(server: Packaged, tmp_path: Path):
    """Scripts of a revision that the package does not know are refused, and so are files that do not tell theirs."""
    with later_revisions(tmp_path):
        server.package("1.1")
    with pytest.raises(pgretrieval.SchemaError, match=r"revision 0102, newer.*pip install --upgrade"):
        server.package("1.2")
    (server.folder / "pgretrieval--1.1.sql").write_text("select 1;")
    with pytest.raises(pgretrieval.SchemaError, match=r"pgretrieval--1\.1\.sql' does not begin with its version; remove it"):
        server.package("1.2")


def test_migrate_refuses_a_database_of_the_extension(server: Packaged):
    """`migrate` and its printed script change nothing and name the remedy, as `doctor` does."""
    url = fresh(server)
    run(url, "comment on schema pgretrieval is 'functions 0123456789abcdef 1'")
    before = catalogue(url)
    with open_database(url) as database:
        with pytest.raises(
            pgretrieval.SchemaError, match=r"belongs to the extension.*package-extension.*ALTER EXTENSION pgretrieval UPDATE"
        ):
            database.migrate()
        told = [finding.text for finding in database.diagnose() if finding.level == "problem"]
        assert len(told) == 1
        assert "ALTER EXTENSION pgretrieval UPDATE" in told[0]
        assert "migrate" not in told[0]
    with pytest.raises(psycopg.Error) as refused:
        run(url, schema.as_sql())
    assert refused.value.sqlstate == "PGR01"
    with psycopg.connect(url) as connection:
        connection.execute("drop extension pgretrieval; create extension pgretrieval")
        with pytest.raises(psycopg.Error, match="belongs to the extension"):  # also in the transaction that created it
            connection.execute(schema.upgrade_script("0100").encode())
    assert catalogue(url) == before


def test_a_migrated_database_refuses_the_extension(server: Packaged):
    """`create extension` on a migrated schema names the remedy and leaves it as it is."""
    url = server.postgres.create_database(migrated=False)
    with open_database(url) as database:
        database.migrate()
    before = catalogue(url)
    with pytest.raises(psycopg.Error, match="has a schema pgretrieval already") as refused:
        run(url, "create extension pgretrieval")
    assert "pgretrieval migrate" in str(refused.value.diag.message_hint)
    assert catalogue(url) == before


def test_dropping_the_extension_leaves_nothing(server: Packaged, corpus: Corpus):
    """`drop extension` removes schema and collections; a table that is attached has to be detached first."""
    url = fresh(server)
    run(url, "create table notes (id integer primary key, body text)")
    with pgretrieval.connect(url) as database:
        database.create_collection("docs").add(corpus.passages[:20], vectors=corpus.vectors[:20])
        database.create_collection("notes", encoder="none")
        database.attach("notes", "public.notes", text="body")
    with pytest.raises(psycopg.errors.DependentObjectsStillExist, match="notes"):
        run(url, "drop extension pgretrieval")
    with pgretrieval.connect(url) as database:
        database.detach("notes")
    run(url, "drop extension pgretrieval")
    assert run(url, "select to_regnamespace('pgretrieval')") == [(None,)]
    run(url, "create extension pgretrieval")


@both
def test_a_plain_role_with_pgvector_in_another_schema(server: Packaged, corpus: Corpus):
    """Without superuser, with pgvector in a schema of its own and an empty search path: create, search, isolate tenants."""
    url = fresh(
        server,
        'create schema "my ext"; create extension vector schema "my ext"; grant usage on schema "my ext" to public',
    )
    roles = {name: server.postgres.create_role() for name in ("reader", "writer", "owner")}
    database_name = psycopg.conninfo.conninfo_to_dict(url)["dbname"]
    server.postgres.execute("grant create on database {} to {}", str(database_name), roles["owner"][0])
    urls = {name: url_as(server.postgres, url, role) for name, role in roles.items()}
    plain = urls["owner"] + "&options=-csearch_path%3D"
    run(plain, "create extension pgretrieval")
    add_tenants(plain, corpus)
    grant(urls["owner"], *(roles[name][0] for name in ("reader", "writer", "owner")))
    assert seen_by(urls["reader"], corpus) == {"p1", "p3", "p5"}
    with pgretrieval.connect(urls["reader"]) as database, pytest.raises(pgretrieval.StorageError, match="permission denied"):
        database.create_collection("other")
    server.package("1.1")
    run(plain, "alter extension pgretrieval update")
    assert seen_by(urls["reader"], corpus) == {"p1", "p3", "p5"}


def test_privileges_refuse_an_owner_who_could_not_update(server: Packaged):
    """Another owner than the extension's is refused with the remedy; a role that the extension's owner is in is fine."""
    url = fresh(server, "create extension vector")
    roles = [server.postgres.create_role() for _ in range(4)]
    reader, writer, owner, creator = (name for name, _ in roles)
    server.postgres.execute("grant create on database {} to {}", str(psycopg.conninfo.conninfo_to_dict(url)["dbname"]), creator)
    run(url_as(server.postgres, url, roles[3]), "create extension pgretrieval")
    with pytest.raises(psycopg.Error, match=f"the extension pgretrieval belongs to role {creator}") as refused:
        grant(url, reader, writer, owner)
    assert f"SET ROLE {owner}; CREATE EXTENSION pgretrieval" in str(refused.value.diag.message_hint)
    server.postgres.execute("grant {} to {}", owner, creator)
    grant(url, reader, writer, owner)
    server.package("1.1")
    run(url_as(server.postgres, url, roles[3]), "alter extension pgretrieval update")


def test_pgvector_is_required(server: Packaged):
    """Without pgvector `create extension` fails and names it."""
    url = server.postgres.create_database(migrated=False)
    with pytest.raises(psycopg.errors.UndefinedObject, match='required extension "vector" is not installed') as refused:
        run(url, "create extension pgretrieval")
    assert "CASCADE" in str(refused.value.diag.message_hint)


def test_the_script_is_not_for_psql(server: Packaged):
    """psql stops at the first line of the script and says what to do."""
    url = server.postgres.create_database(migrated=False)
    done = server.server.client("psql", "-X", "--quiet", "--file", str(server.folder / "pgretrieval--1.0.sql"), url)
    assert done.stdout.startswith('Use "CREATE EXTENSION pgretrieval"')
    assert run(url, "select to_regnamespace('pgretrieval')") == [(None,)]


def test_the_command_prints_the_files(command: Command, tmp_path: Path):
    """The files are printed; the folder has to exist."""
    code, out, _ = command("package-extension", tmp_path)
    assert code == 0
    assert out.split() == [
        str(tmp_path / f"pgretrieval--{extension.version_of('pgretrieval')}.sql"),
        str(tmp_path / "pgretrieval.control"),
    ]
    assert {path.name for path in tmp_path.iterdir()} == {Path(path).name for path in out.split()}
    code, _, told = command("package-extension", tmp_path / "nowhere")
    assert code == 1
    assert "nowhere' is no folder; give the server's folder of extensions: $(pg_config --sharedir)/extension" in " ".join(
        told.split()
    )
