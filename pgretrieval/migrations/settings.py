"""Where alembic keeps the version of the schema."""

from __future__ import annotations

from typing import TypedDict


class VersionOptions(TypedDict):
    """The options of alembic's `context.configure` that name the version table."""

    version_table: str
    version_table_schema: str


VERSION_OPTIONS: VersionOptions = {"version_table": "schema_version", "version_table_schema": "pgretrieval"}
