"""The revisions for alembic, of the package or of an application: whole SQL files, executed or printed offline."""

from __future__ import annotations

from contextlib import closing
from typing import Any, TypedDict

from alembic import context, op
from alembic.config import Config
from sqlalchemy import Connection

from pgretrieval import assets
from pgretrieval.db import schema


class VersionOptions(TypedDict):
    """The options of alembic's `context.configure` that name the version table."""

    version_table: str
    version_table_schema: str


VERSION_OPTIONS: VersionOptions = {"version_table": "schema_version", "version_table_schema": "pgretrieval"}


def alembic_config() -> Config:
    """Return the configuration for alembic's own commands on these revisions."""
    config = Config()
    config.set_main_option("script_location", str(assets.MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def upgrade(connection: Connection) -> None:
    """Install or upgrade in the transaction of a SQLAlchemy connection, as `schema.upgrade` does."""

    def value_of(statement: str) -> Any:
        return connection.exec_driver_sql(statement).scalar()

    value_of(assets.statements("schema")["exists"])  # begins the transaction, which files sent past SQLAlchemy do not
    schema.upgrade(value_of, lambda text: execute_file(connection, text))


def run_sql(text: str) -> None:
    """Send a file of statements unchanged: without parameters, so `:` and `%` are literal."""
    if context.is_offline_mode():
        context.static_output(text)
    else:
        execute_file(op.get_bind(), text)


def run_sql_beside(revision_file: str, suffix: str = ".sql") -> None:
    """Run the SQL file that has the revision file's name."""
    run_sql(assets.revision(revision_file, suffix))


def execute_file(connection: Connection, text: str) -> None:
    """Execute several statements at once, without SQLAlchemy's parameters, on any of its Postgres drivers."""
    driver: Any = connection.connection.dbapi_connection
    if connection.dialect.is_async:
        driver.run_async(lambda unwrapped: unwrapped.execute(text))
    else:
        with closing(driver.cursor()) as cursor:
            cursor.execute(text)
