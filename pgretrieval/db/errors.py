"""The driver's errors, told as pgretrieval's own with the remedy; the driver's error stays as the cause."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import psycopg_pool
from psycopg import errors as pg
from psycopg.conninfo import conninfo_to_dict

from pgretrieval.errors import (
    ConfigError,
    ConflictError,
    DatabaseUnavailableError,
    ExtensionError,
    PgRetrievalError,
    SchemaError,
    StorageError,
)

_MISSING_SCHEMA = (pg.UndefinedTable, pg.UndefinedFunction, pg.InvalidSchemaName)
_CONFLICTS = (pg.SerializationFailure, pg.DeadlockDetected)
_OWN_STATES: dict[str | None, type[PgRetrievalError]] = {
    "PGR01": SchemaError,
    "PGR02": ExtensionError,
    "PGR03": ExtensionError,
    "PGR05": ConfigError,
}


def describe_server(url: str) -> str:
    """Host, port and database of a connection string, without its password."""
    parts = conninfo_to_dict(url)
    host, port = str(parts.get("host") or ""), parts.get("port") or 5432
    where = f"{host}:{port}" if host and not host.startswith("/") else f"the local socket {host}".strip()
    return f"{where}, database {parts.get('dbname') or parts.get('user') or 'postgres'!r}"


@contextmanager
def storage_errors(url: str, doing: str, *, all_or_nothing: bool = False) -> Iterator[None]:
    """Turn what psycopg raises while `doing` something into an error of this package.

    `all_or_nothing` adds to a lost connection that nothing was stored.
    """
    try:
        yield
    except (psycopg.Error, psycopg_pool.PoolTimeout) as error:
        raise _translated(error, url, doing, "Nothing of this call was stored. " if all_or_nothing else "") from error


def _translated(error: Exception, url: str, doing: str, aftermath: str) -> PgRetrievalError:
    text = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    state = getattr(error, "sqlstate", None)
    if state in _OWN_STATES:
        hint = getattr(getattr(error, "diag", None), "message_hint", None)
        kind = _OWN_STATES[state]
        return kind(f"{text}. {hint}" if hint else text)
    if isinstance(error, pg.InsufficientPrivilege):
        return SchemaError(
            f"{doing} is not allowed for this role: {text}. Connect as the owner, or let the owner grant the right; to install the "
            "schema a role needs CREATE on the database (GRANT CREATE ON DATABASE … TO …)."
        )
    if isinstance(error, _CONFLICTS):
        return ConflictError(f"{doing} met another transaction that changed the same: {text}. {aftermath}Do the same again.")
    if isinstance(error, _MISSING_SCHEMA):
        return SchemaError(
            f"{doing} failed, the schema is missing or incomplete: {text}. Run `pgretrieval migrate` on this database."
        )
    if (isinstance(error, psycopg.OperationalError) and state is None) or isinstance(error, psycopg_pool.PoolTimeout):
        return DatabaseUnavailableError(
            f"{doing} failed, the connection to {describe_server(url)} is down or was lost: {text}. {aftermath}"
            "Start the server or check the URL, then do the same again."
        )
    if isinstance(error, psycopg.OperationalError):
        return DatabaseUnavailableError(f"{doing} failed on {describe_server(url)}: {text}. {aftermath}".rstrip())
    return StorageError(f"{doing} failed: {text}")
