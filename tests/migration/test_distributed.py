"""`migrate --distributed` where it cannot work: each error says what to do. tests/citus has the rest, on a real cluster."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

import pgretrieval
from pgretrieval.database import open_database
from pgretrieval.errors import ExtensionError, SchemaError
from tests.fixtures.cli import Command
from tests.support.packaged import Packaged, packaged

STAND_IN = """
create schema stand_in;
create table stand_in.pg_dist_local_group (groupid integer);
create table stand_in.pg_dist_node (nodename text, nodeport integer, groupid integer, isactive boolean, noderole text);
create table stand_in.pg_dist_partition (logicalrelid regclass);
alter table stand_in.pg_dist_local_group set schema pg_catalog;
alter table stand_in.pg_dist_node set schema pg_catalog;
alter table stand_in.pg_dist_partition set schema pg_catalog;
insert into pg_dist_local_group values (0);
create function pg_catalog.run_command_on_workers(command text)
returns table (nodename text, nodeport integer, success boolean, result text)
language sql as $$
    select nodename, nodeport, true, current_setting('stand_in.result') from pg_catalog.pg_dist_node where groupid <> 0
$$;
"""
"""The parts of the extension citus on which the errors depend, without its library."""


@pytest.fixture(scope="module")
def server() -> Iterator[Packaged]:
    """A server with the stand-in as extension citus, in a version that is too old and in one that is not."""
    with packaged(18) as started:
        (started.folder / "citus.control").write_text("default_version = '13.2-1'\nrelocatable = false\nschema = pg_catalog\n")
        for version in ("11.3-1", "13.2-1"):
            (started.folder / f"citus--{version}.sql").write_text(STAND_IN)
        yield started


@pytest.fixture
def coordinator(server: Packaged) -> Iterator[str]:
    """A database with the stand-in and one worker, whose pgvector is new enough."""
    url = server.postgres.create_database(migrated=False)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("create extension citus")
        connection.execute(
            "insert into pg_dist_node values ('leader', 5432, 0, true, 'primary'), ('one', 5433, 1, true, 'primary')"
        )
        connection.execute(f"alter database {connection.info.dbname} set stand_in.result = 'pgvector 0.8.1'")
    yield url
    server.postgres.drop_database(url)


def change(url: str, statement: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement.encode())


def migrate(url: str) -> None:
    with open_database(url) as database:
        database.migrate(distributed=True)


def test_a_server_without_citus(empty_database_url: str, command: Command):
    """The command names what is missing; nothing is installed."""
    code, _, errors = command("migrate", "--distributed")
    assert code == 1
    assert 'the extension "citus" is not created in database' in errors
    assert "Give the URL of a Citus coordinator, or leave distributed out" in errors
    with pytest.raises(ExtensionError, match="citus"):
        migrate(empty_database_url)
    with pytest.raises(SchemaError, match="has no pgretrieval schema"):
        pgretrieval.connect(empty_database_url)


def test_citus_too_old(server: Packaged):
    """A version that lacks what the tables need is refused."""
    url = server.postgres.create_database(migrated=False)
    change(url, "create extension citus version '11.3-1'")
    with pytest.raises(ExtensionError, match=r"Citus 11\.3-1 is too old.*12\.1 or later.*ALTER EXTENSION citus UPDATE"):
        migrate(url)
    server.postgres.drop_database(url)


def test_a_coordinator_without_workers(coordinator: str):
    """Workers are asked for, by the statement that adds one."""
    change(coordinator, "delete from pg_dist_node where groupid > 0")
    with pytest.raises(SchemaError, match=r"has no workers.*citus_add_node"):
        migrate(coordinator)


@pytest.mark.parametrize("result", ["none", "pgvector 0.7.4", 'database "x" does not exist'])
def test_a_worker_without_pgvector(coordinator: str, result: str):
    """The worker is named, with what it has."""
    with psycopg.connect(coordinator, autocommit=True) as connection:
        connection.execute(
            psycopg.sql.SQL("alter database {} set stand_in.result = {}").format(
                psycopg.sql.Identifier(connection.info.dbname), psycopg.sql.Literal(result)
            )
        )
    with pytest.raises(ExtensionError, match=rf"do not have pgvector 0\.8 or later: one:5433 \({result}\)"):
        migrate(coordinator)


def test_a_worker_in_place_of_the_coordinator(coordinator: str):
    """Migrating and connecting name the coordinator."""
    change(coordinator, "update pg_dist_local_group set groupid = 1")
    for attempt in (migrate, pgretrieval.connect):
        with pytest.raises(SchemaError, match=r"on a worker of a Citus cluster.*coordinator.* is leader:5432"):
            attempt(coordinator)


def test_row_level_security(coordinator: str):
    """Policies look at other tables, which those of distributed tables cannot."""
    with open_database(coordinator) as database:
        database.migrate()
    change(coordinator, "alter table pgretrieval.passage enable row level security")
    with pytest.raises(SchemaError, match=r"row-level security is enabled on pgretrieval\.passage.*stay on one server"):
        migrate(coordinator)
