"""Translation of the driver's errors to errors of the package with a remedy; the driver's error is the cause.

`STATES` defines each SQLSTATE; docs/reference/errors.md shows it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import psycopg
from psycopg.conninfo import conninfo_to_dict

from pgretrieval.errors import (
    CollectionNotFoundError,
    ConfigError,
    ConflictError,
    DatabaseUnavailableError,
    ExtensionError,
    PgRetrievalError,
    SchemaError,
    StorageError,
    TimedOutError,
)

_OWN_STATES: dict[str | None, type[PgRetrievalError]] = {
    "PGR01": SchemaError,
    "PGR02": ExtensionError,
    "PGR03": ExtensionError,
    "PGR04": CollectionNotFoundError,
    "PGR05": ConfigError,
}


class State(NamedTuple):
    """Error class, meaning and remedy of a SQLSTATE or of its class (the first two characters)."""

    error: type[PgRetrievalError]
    meaning: str
    remedy: str


_AGAIN = "Repeat the call."
_ASK_OWNER = (
    "Connect as the owner, or let the owner grant the right; to install the schema a role needs CREATE on the database (GRANT "
    "CREATE ON DATABASE … TO …)."
)
_RESTARTED = "Repeat the call when the server is up."
_SPACE = "Free or add disk space on the server, then repeat the call."
_MIGRATE = "Run `pgretrieval migrate` on this database."
_PASSWORD = "Correct user and password in the URL, or pg_hba.conf on the server."

STATES: dict[str, State] = {
    "08": State(DatabaseUnavailableError, "the connection was lost", "Start the server or check the URL, then repeat the call."),
    "0A": State(StorageError, "the server does not support this", "Read the message; a newer PostgreSQL may be needed."),
    "22": State(StorageError, "the server rejected a value", "Correct the value named in the message."),
    "23": State(StorageError, "a value violates a constraint", "Correct the value named in the message."),
    "25": State(StorageError, "the transaction is in a state that does not allow this", "Begin another transaction."),
    "25006": State(
        StorageError,
        "the server or this session is read-only",
        "Connect to the primary, or as a role without default_transaction_read_only.",
    ),
    "25P02": State(
        StorageError, "an earlier statement of the transaction failed", "Roll back, then repeat the call in another transaction."
    ),
    "25P03": State(
        TimedOutError,
        "the session was idle in its transaction for too long",
        "Raise idle_in_transaction_session_timeout.",
    ),
    "25P04": State(
        TimedOutError, "the transaction took too long", "Raise transaction_timeout for this role, or do less in one transaction."
    ),
    "28": State(DatabaseUnavailableError, "the server rejected the login", _PASSWORD),
    "3D": State(DatabaseUnavailableError, "there is no such database", "Correct the database in the URL, or create it."),
    "3F000": State(SchemaError, "the schema is missing or incomplete", _MIGRATE),
    "40": State(ConflictError, "another transaction changed the same rows", _AGAIN),
    "42": State(StorageError, "the statement is invalid on this server", "Read the message."),
    "42501": State(SchemaError, "this role lacks a right", _ASK_OWNER),
    "42703": State(SchemaError, "the schema is missing or incomplete", _MIGRATE),
    "42883": State(SchemaError, "the schema is missing or incomplete", _MIGRATE),
    "42P01": State(SchemaError, "the schema is missing or incomplete", _MIGRATE),
    "53": State(
        StorageError,
        "the server lacks a resource",
        "Give the server more of the resource named in the message, then repeat the call.",
    ),
    "53100": State(StorageError, "the server's disk is full", _SPACE),
    "53200": State(
        StorageError,
        "the server is out of memory",
        "Give the server more memory, or raise the setting named in the message, such as max_locks_per_transaction.",
    ),
    "53300": State(
        DatabaseUnavailableError,
        "the server has no free connection",
        "Close connections, raise max_connections, or use a pooler; then repeat the call.",
    ),
    "53400": State(StorageError, "a limit of the server's configuration is reached", "Raise the limit named in the message."),
    "54": State(StorageError, "a value or a statement is too large for PostgreSQL", "Pass less data in one call."),
    "55": State(StorageError, "an object is not in a state that allows this", "Read the message, then repeat the call."),
    "55P03": State(TimedOutError, "another session held a lock for too long", "Repeat the call, or raise lock_timeout."),
    "57": State(StorageError, "an administrator interrupted the operation", _AGAIN),
    "57014": State(
        TimedOutError,
        "the statement exceeded its time limit or was cancelled",
        "Repeat the call with less data, or raise statement_timeout for this role.",
    ),
    "57P01": State(DatabaseUnavailableError, "the server ended the session, or is shutting down", _RESTARTED),
    "57P02": State(DatabaseUnavailableError, "a process of the server crashed, and the server restarts", _RESTARTED),
    "57P03": State(DatabaseUnavailableError, "the server is starting up or shutting down", _RESTARTED),
    "57P04": State(DatabaseUnavailableError, "the database was dropped", "Connect to another database."),
    "57P05": State(DatabaseUnavailableError, "the session was idle for too long and was ended", _AGAIN),
    "58": State(
        StorageError,
        "the server's file system failed",
        "Check disk space, limits, and the file named in the message.",
    ),
    "P0": State(StorageError, "a function or trigger raised an error", "Read the message."),
    "XX": State(
        StorageError,
        "the server reported an internal error or damaged data",
        "Read the server's log; `pgretrieval check` finds damage in a collection.",
    ),
}
"""By SQLSTATE, or by its first two characters for states without their own entry."""

_UNKNOWN = State(StorageError, "the server raised an error", "Read the message.")
_LOST = STATES["08"]
_REFUSED = State(
    DatabaseUnavailableError, "the server refused the connection", "Correct the URL, or the setting that the server names."
)
_ANSWER_OF_A_SERVER = re.compile(r"failed: [^\s:]+:  ")  # "failed: FATAL:  ", in whatever language


def describe_server(url: str) -> str:
    """Host, port and database of a connection string, without its password."""
    parts = conninfo_to_dict(url)
    host, port = str(parts.get("host") or ""), parts.get("port") or 5432
    where = f"{host}:{port}" if host and not host.startswith("/") else f"the local socket {host}".strip()
    return f"{where}, database {parts.get('dbname') or parts.get('user') or 'postgres'!r}"


@contextmanager
def storage_errors(url: str, doing: str, *, all_or_nothing: bool = False) -> Iterator[None]:
    """Translate exceptions of psycopg during the work named by `doing` to errors of the package.

    `all_or_nothing` adds that nothing was stored.
    """
    try:
        yield
    except psycopg.Error as error:
        raise _translated(error, url, doing, "Nothing of this call was stored. " if all_or_nothing else "") from error


def state_of(error: psycopg.Error) -> State:
    """Return the `State` of a driver's error. An error without SQLSTATE, not caused by a statement, concerns the connection."""
    if error.sqlstate is not None:
        return STATES.get(error.sqlstate) or STATES.get(error.sqlstate[:2]) or _UNKNOWN
    if not isinstance(error, psycopg.OperationalError):
        return _UNKNOWN
    return _REFUSED if _ANSWER_OF_A_SERVER.search(str(error)) else _LOST


def _translated(error: psycopg.Error, url: str, doing: str, aftermath: str) -> PgRetrievalError:
    text = str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__
    if error.sqlstate in _OWN_STATES:
        hint = error.diag.message_hint
        return _OWN_STATES[error.sqlstate](f"{text}. {hint}" if hint else text)
    state = state_of(error)
    where = f" ({describe_server(url)})" if state.error is DatabaseUnavailableError else ""
    return state.error(f"{doing} failed, {state.meaning}{where}: {text}. {aftermath}{state.remedy}")
