"""Runs whole SQL files in a migration, or prints them when alembic works offline."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import psycopg
from alembic import context, op
from sqlalchemy import Connection


def run_sql(text: str) -> None:
    """Send a file of statements as it is: no parameters, so `:` and `%` mean nothing."""
    if context.is_offline_mode():
        context.static_output(text)
    else:
        execute_file(op.get_bind(), text)


def run_sql_beside(revision_file: str, suffix: str = ".sql") -> None:
    """Run the SQL file that has the revision file's name."""
    run_sql(Path(revision_file).with_suffix(suffix).read_text(encoding="utf-8"))


def execute_file(connection: Connection, text: str) -> None:
    """Run several statements in one go on SQLAlchemy's psycopg connection."""
    driver = cast("psycopg.Connection[object]", connection.connection.driver_connection)
    driver.execute(text)
