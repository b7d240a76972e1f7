"""The driver's errors, told as pgretrieval's own with the remedy; the driver's error stays as the cause."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import psycopg_pool
from psycopg import errors as pg
from psycopg.conninfo import conninfo_to_dict

from pgretrieval.errors import DatabaseUnavailableError, ExtensionError, SchemaError, StorageError

_MISSING_SCHEMA = (pg.UndefinedTable, pg.UndefinedFunction, pg.InvalidSchemaName)
_EXTENSION_STATES = {"PGR02", "PGR03"}


def describe_server(url: str) -> str:
    """Host, port and database of a connection string, without its password."""
    parts = conninfo_to_dict(url)
    host, port = parts.get("host") or "the local socket", parts.get("port") or 5432
    return f"{host}:{port}, database {parts.get('dbname') or parts.get('user') or 'postgres'!r}"


@contextmanager
def storage_errors(url: str, doing: str) -> Iterator[None]:
    """Turn what psycopg raises while `doing` something into an error of this package."""
    try:
        yield
    except (psycopg.Error, psycopg_pool.PoolTimeout) as error:
        raise _translated(error, url, doing) from error


def _translated(error: Exception, url: str, doing: str) -> StorageError:
    text = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    state = getattr(error, "sqlstate", None)
    if state in _EXTENSION_STATES or state == "PGR01":
        hint = getattr(getattr(error, "diag", None), "message_hint", None)
        kind = ExtensionError if state in _EXTENSION_STATES else SchemaError
        return kind(f"{text}. {hint}" if hint else text)
    if isinstance(error, pg.InsufficientPrivilege):
        return SchemaError(
            f"{doing} is not allowed for this role: {text}. Let the owner of the database run `pgretrieval migrate`, or grant "
            f"the right (GRANT CREATE ON DATABASE … TO …)."
        )
    if isinstance(error, _MISSING_SCHEMA):
        return SchemaError(
            f"{doing} failed, the schema is missing or incomplete: {text}. Run `pgretrieval migrate` on this database."
        )
    if (isinstance(error, psycopg.OperationalError) and state is None) or isinstance(error, psycopg_pool.PoolTimeout):
        return DatabaseUnavailableError(
            f"{doing} failed, the connection to {describe_server(url)} is down or was lost: {text}. Nothing of this call was "
            "stored; start the server or check the URL, then call again."
        )
    if isinstance(error, psycopg.OperationalError):
        return DatabaseUnavailableError(f"{doing} failed on {describe_server(url)}: {text}. Nothing of this call was stored.")
    return StorageError(f"{doing} failed: {text}")
