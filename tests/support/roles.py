"""Connections of the roles of privileges.sql."""

from __future__ import annotations

from typing import Any

import psycopg

from pgretrieval import assets
from tests.fixtures.postgres import PostgresUnderTest


def grant(url: str, reader: str, writer: str, owner: str) -> None:
    """Grant three roles their rights."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(assets.privileges(reader, writer, owner))


def url_as(postgres: PostgresUnderTest, url: str, role: tuple[str, str]) -> str:
    """The URL of the same database for another role."""
    name = str(psycopg.conninfo.conninfo_to_dict(url)["dbname"])
    return postgres.url_of(name, *role)


def isolate_tenants(connection: psycopg.Connection[Any]) -> None:
    """Add a policy: a passage belongs to the tenant in its metadata, and a session sees those of `app.tenant`."""
    connection.execute("alter table pgretrieval.passage enable row level security")
    connection.execute(
        """create policy tenant on pgretrieval.passage
           using (metadata ->> 'tenant' = current_setting('app.tenant', true))
           with check (metadata ->> 'tenant' = current_setting('app.tenant', true))"""
    )
