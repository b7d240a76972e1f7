"""The caller's own transaction, in which a change takes part."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import psycopg
import sqlalchemy
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row
from sqlalchemy.orm import Session

from pgretrieval.assets import statements
from pgretrieval.errors import ConfigError

Joined: TypeAlias = "psycopg.Connection[Any] | sqlalchemy.Connection | Session"
"""A connection of the caller's, to the same database."""

_ALIVE = statements("catalog")["server_process"]


@contextmanager
def joining(given: Joined) -> Iterator[psycopg.Connection[Any]]:
    """The driver's connection inside a savepoint of the caller's transaction, which is begun where there is none yet.

    Only the caller commits, save for a psycopg connection in autocommit mode outside a transaction. Raises ConfigError where
    `given` is no connection of psycopg.
    """
    connection = _driver_connection(given)
    if connection.info.transaction_status == TransactionStatus.IDLE and not connection.autocommit:
        connection.execute(_ALIVE)  # the driver begins the transaction with it, and leaves the end to the caller
    rows, connection.row_factory = connection.row_factory, tuple_row
    try:
        with connection.transaction():
            yield connection
    finally:
        connection.row_factory = rows


def _driver_connection(given: Any) -> psycopg.Connection[Any]:
    found = given.connection() if isinstance(given, Session) else given
    if isinstance(found, sqlalchemy.Connection):
        if not found.in_transaction():
            found.begin()
        found = found.connection.driver_connection
    if not isinstance(found, psycopg.Connection):
        msg = (
            f"connection is {given!r}; give a psycopg.Connection, or a SQLAlchemy Connection or Session over postgresql+psycopg "
            "(not an asynchronous one)"
        )
        raise ConfigError(msg)
    return found
