"""Connections of the roles that privileges.sql describes."""

from __future__ import annotations

from typing import Any

import psycopg

from pgretrieval import assets
from tests.fixtures.postgres import PostgresUnderTest


def grant(url: str, reader: str, writer: str, owner: str) -> None:
    """Give three roles their rights."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(assets.privileges(reader, writer, owner))


def url_as(postgres: PostgresUnderTest, url: str, role: tuple[str, str]) -> str:
    """The same database, by another role."""
    name = str(psycopg.conninfo.conninfo_to_dict(url)["dbname"])
    return postgres.url_of(name, *role)


def isolate_tenants(connection: psycopg.Connection[Any]) -> None:
    """A passage belongs to the tenant in its metadata; a session sees those of `app.tenant`."""
    connection.execute("alter table pgretrieval.passage enable row level security")
    connection.execute(
        """create policy tenant on pgretrieval.passage
           using (metadata ->> 'tenant' = current_setting('app.tenant', true))
           with check (metadata ->> 'tenant' = current_setting('app.tenant', true))"""
    )
