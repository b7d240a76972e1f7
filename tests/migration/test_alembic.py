"""Installation by an application's own alembic migrations, with the example project in docs/."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

import psycopg
import pytest
import sqlalchemy
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, pool
from sqlalchemy.ext.asyncio import create_async_engine

import pgretrieval
from pgretrieval.alembic import include_object
from pgretrieval.database import open_database
from pgretrieval.db import schema
from pgretrieval.db.revisions import upgrade
from tests.fixtures.postgres import PostgresUnderTest
from tests.support.catalog import catalogue
from tests.support.revisions import later_revisions

EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "alembic-example"


@pytest.fixture
def project(empty_database_url: str, monkeypatch: pytest.MonkeyPatch) -> Config:
    """The example on an empty database."""
    monkeypatch.setenv("DATABASE_URL", sqlalchemy_url(empty_database_url))
    return Config(EXAMPLE / "alembic.ini")


def sqlalchemy_url(url: str, driver: str = "psycopg") -> str:
    return url.replace("postgresql://", f"postgresql+{driver}://", 1)


def migrated(url: str) -> list[str]:
    """The catalogue of a database installed by `migrate`."""
    with open_database(url) as database:
        database.migrate()
    return catalogue(url)


@pytest.fixture
def expected(postgres: PostgresUnderTest) -> list[str]:
    """The catalogue of a separate database installed by `migrate`."""
    url = postgres.create_database(migrated=False)
    found = migrated(url)
    postgres.drop_database(url)
    return found


def without_collections(url: str) -> list[str]:
    """The catalogue without the example's collection."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("select pgretrieval.drop_collection('articles')")
    return catalogue(url)


@pytest.mark.both_versions
def test_the_chain_leads_to_the_catalogue_of_migrate_and_back(project: Config, empty_database_url: str, expected: list[str]):
    """The chain of migrations gives the catalogue of `migrate`, with the application's tables in their schema, and downgrades."""
    command.upgrade(project, "head")
    with psycopg.connect(empty_database_url) as connection:
        assert connection.execute("select to_regclass('public.article') is not null").fetchone() == (True,)
        assert connection.execute("select name from pgretrieval.collections").fetchall() == [("articles",)]
    assert without_collections(empty_database_url) == expected
    command.downgrade(project, "0001")
    with psycopg.connect(empty_database_url) as connection:
        assert connection.execute("select to_regnamespace('pgretrieval') is null").fetchone() == (True,)
        assert connection.execute("select to_regclass('public.article') is not null").fetchone() == (True,)
    command.upgrade(project, "head")
    assert without_collections(empty_database_url) == expected


@pytest.mark.both_versions
def test_the_printed_chain_gives_the_same_catalogue(empty_database_url: str, expected: list[str]):
    """The output of --sql gives the same catalogue and keeps the search path of the application's statements."""
    printed = io.StringIO()
    command.upgrade(Config(EXAMPLE / "alembic.ini", output_buffer=printed), "head", sql=True)
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        connection.execute(printed.getvalue())
        assert connection.execute("show search_path").fetchone() == ('"$user", public',)
        assert connection.execute("select version_num from public.alembic_version").fetchone() == ("0002",)
    assert without_collections(empty_database_url) == expected


@pytest.mark.parametrize("since", [0, 1])
def test_an_older_schema_is_brought_up(
    empty_database_url: str, postgres: PostgresUnderTest, expected: list[str], since: int, tmp_path: Path
):
    """Upgrades from an older revision, and downgrades, apply exactly the missing steps."""
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        connection.execute("begin;" + schema.upgrade_script(None) + "commit;")
        with later_revisions(tmp_path) as later:
            newest = postgres.create_database(migrated=False)
            expected_later = migrated(newest)
            postgres.drop_database(newest)
            older = ["0100", *later][since]
            connection.execute("begin;" + schema.upgrade_script("0100") + "commit;")
            connection.execute("begin;" + schema.downgrade_script(older) + "commit;")
            assert connection.execute("select version_num from pgretrieval.schema_version").fetchone() == (older,)
            connection.execute("begin;" + schema.upgrade_script(older) + "commit;")
            assert catalogue(empty_database_url) == expected_later
            with pgretrieval.connect(empty_database_url) as database:
                assert database.list_collections() == []
            connection.execute("begin;" + schema.downgrade_script("0100") + "commit;")
        connection.execute("begin;" + schema.upgrade_script("0100") + "commit;")
    assert catalogue(empty_database_url) == expected


def test_an_application_that_upgrades_the_package_upgrades_the_schema(project: Config, empty_database_url: str, tmp_path: Path):
    """A later migration that calls `upgrade_pgretrieval` upgrades within the application's transaction."""
    command.upgrade(project, "head")
    engine = create_engine(sqlalchemy_url(empty_database_url), poolclass=pool.NullPool)
    with later_revisions(tmp_path) as later, engine.begin() as connection:
        upgrade(connection)
        assert connection.exec_driver_sql("select version_num from pgretrieval.schema_version").scalar() == later[-1]
        assert connection.exec_driver_sql("select count(*) from pgretrieval.collection where named = 'x'").scalar() == 1


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg_async"])
def test_asynchronous_drivers(empty_database_url: str, expected: list[str], driver: str):
    """Asynchronous drivers run files of several statements."""

    async def install() -> None:
        parts = psycopg.conninfo.conninfo_to_dict(empty_database_url)
        engine = create_async_engine(
            f"postgresql+{driver}://", connect_args=connect_arguments(driver, parts), poolclass=pool.NullPool
        )
        async with engine.begin() as connection:
            await connection.run_sync(upgrade)

    asyncio.run(install())
    assert catalogue(empty_database_url) == expected


def connect_arguments(driver: str, parts: dict[str, object]) -> dict[str, object]:
    """Parts of a connection string under the driver's names."""
    if driver != "asyncpg":
        return dict(parts)
    names = {"host": "host", "port": "port", "user": "user", "password": "password", "dbname": "database"}
    found: dict[str, object] = {names[name]: value for name, value in parts.items() if name in names and value}
    return found | ({"port": int(str(found["port"]))} if "port" in found else {})


def test_a_newer_schema_is_refused(project: Config, empty_database_url: str):
    """An older package refuses a newer schema."""
    command.upgrade(project, "0001")
    migrated(empty_database_url)
    with psycopg.connect(empty_database_url) as connection:
        connection.execute("update pgretrieval.schema_version set version_num = '9999'")
    with pytest.raises(pgretrieval.SchemaError, match="9999, newer than this client"):
        command.upgrade(project, "head")


def test_a_migration_that_is_rolled_back_leaves_nothing(empty_database_url: str):
    """A rolled back migration leaves no part of the schema."""
    engine = create_engine(sqlalchemy_url(empty_database_url), poolclass=pool.NullPool)
    with engine.connect() as connection:
        upgrade(connection)
        connection.rollback()
    with psycopg.connect(empty_database_url) as connection:
        assert connection.execute("select to_regnamespace('pgretrieval') is null").fetchone() == (True,)


def test_going_back_to_an_unknown_revision():
    with pytest.raises(pgretrieval.SchemaError, match="no revision '7777'"):
        schema.downgrade_script("7777")


@pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning")
def test_autogenerate_ignores_the_schema(database_url: str):
    """Autogenerate with all schemas does not propose to drop these tables."""
    engine = create_engine(sqlalchemy_url(database_url), poolclass=pool.NullPool)
    models = sqlalchemy.MetaData()
    sqlalchemy.Table("article", models, sqlalchemy.Column("id", sqlalchemy.Integer, primary_key=True))
    proposed = {}
    with engine.connect() as connection:
        for filtered in (False, True):
            options = {"include_schemas": True, **({"include_object": include_object} if filtered else {})}
            context = MigrationContext.configure(connection, opts=options)
            proposed[filtered] = [str(each) for each in compare_metadata(context, models)]
    assert any("remove_table" in each and "pgretrieval" in each for each in proposed[False])
    assert [each for each in proposed[True] if "pgretrieval" in each] == []
    assert any("add_table" in each and "article" in each for each in proposed[True])
