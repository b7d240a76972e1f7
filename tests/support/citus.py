"""A Citus cluster, if one is named: its coordinator, its workers, and databases on all of them."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from psycopg import sql

from tests.fixtures.postgres import PostgresUnderTest

VARIABLE = "PGRETRIEVAL_TEST_CITUS_DSN"
Node = tuple[str, int]
_WORKERS = "select node_name, node_port::int from citus_get_active_worker_nodes() order by 2, 1"


def coordinator_url() -> str:
    """Return the URL of a coordinator with workers. Skips the test with a reason, which the summary shows, if none is named."""
    url = os.environ.get(VARIABLE)
    if not url:
        pytest.skip(f"there is no Citus cluster: name a coordinator with two workers, as a superuser, in {VARIABLE}")
    return url


@dataclass(frozen=True, slots=True)
class Cluster:
    """A coordinator with its workers. Databases are made on each node, since Citus makes none."""

    coordinator: PostgresUnderTest
    workers: tuple[Node, ...]

    @classmethod
    def of(cls, url: str) -> Cluster:
        """The cluster of a coordinator."""
        with psycopg.connect(url, autocommit=True) as connection:
            workers = connection.execute(_WORKERS).fetchall()
        return cls(PostgresUnderTest(url), tuple((name, port) for name, port in workers))

    def url_of(self, database: str, node: Node | None = None) -> str:
        """The URL of a database on the coordinator, or on a worker."""
        url = self.coordinator.url_of(database)
        return url if node is None else psycopg.conninfo.make_conninfo(url, host=node[0], port=node[1])

    def run(self, database: str, statement: str, node: Node | None = None) -> Any:
        """Run a statement outside a transaction on the coordinator, or on a worker; returns its first value."""
        with psycopg.connect(self.url_of(database, node), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            row = cursor.fetchone() if cursor.description else None
            return row[0] if row else None

    def on_all(self, statement: str, *names: str) -> None:
        """Run a statement in the database that the cluster's URL names, on each node."""
        for node in (None, *self.workers):
            url = self.coordinator.url
            if node is not None:
                url = psycopg.conninfo.make_conninfo(url, host=node[0], port=node[1])
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute("set citus.enable_create_database_propagation = off")
                connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))

    @contextmanager
    def database(self, workers: tuple[Node, ...] | None = None) -> Iterator[str]:
        """The name of a new database with Citus on all nodes, some of which are its workers, or all."""
        name = f"pgr_citus_{secrets.token_hex(6)}"
        self.on_all("create database {} template template0", name)
        try:
            for node in (None, *self.workers):
                self.run(name, "create extension citus", node)
            with psycopg.connect(self.url_of(name), autocommit=True) as connection:
                for host, port in self.workers if workers is None else workers:
                    connection.execute("select citus_add_node(%s, %s)", [host, port])
            yield name
        finally:
            self.on_all("drop database {} with (force)", name)
