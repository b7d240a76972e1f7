"""The driver's errors, told as pgretrieval's own with the remedy; the driver's error stays as the cause.

What a SQLSTATE means stands in one table, `STATES`; docs/reference/errors.md shows it.
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


_AGAIN = "Do the same again."
_ASK_OWNER = (
    "Connect as the owner, or let the owner grant the right; to install the schema a role needs CREATE on the database (GRANT "
    "CREATE ON DATABASE … TO …)."
)
_RESTARTED = "Do the same again once the server is up."
_SPACE = "Give the server more disk space, then do the same again."
_MIGRATE = "Run `pgretrieval migrate` on this database."
_PASSWORD = "Correct user and password in the URL, or pg_hba.conf on the server."

STATES: dict[str, State] = {
    "08": State(DatabaseUnavailableError, "the connection was lost", "Start the server or check the URL, then do the same again."),
    "0A": State(StorageError, "the server cannot do this", "Read what it says; it may need a newer PostgreSQL."),
    "22": State(StorageError, "the server cannot take a value", "Correct the value that it names."),
    "23": State(StorageError, "a value breaks a constraint", "Correct the value that it names."),
    "25": State(StorageError, "the transaction is in a state that does not allow this", "Begin another transaction."),
    "25006": State(
        StorageError,
        "the server or this session takes no changes, it is read-only",
        "Connect to the primary, or as a role without default_transaction_read_only.",
    ),
    "25P02": State(
        StorageError, "an earlier statement of the transaction failed", "Roll back, then do the same again in another transaction."
    ),
    "25P03": State(
        TimedOutError,
        "the session was idle in its transaction for too long",
        "Raise idle_in_transaction_session_timeout.",
    ),
    "25P04": State(TimedOutError, "the transaction took too long", "Raise transaction_timeout for this role, or do less at once."),
    "28": State(DatabaseUnavailableError, "the server does not let this role in", _PASSWORD),
    "3D": State(DatabaseUnavailableError, "there is no such database", "Correct the database in the URL, or create it."),
    "3F000": State(SchemaError, "the schema is missing or incomplete", _MIGRATE),
    "40": State(ConflictError, "another transaction changed the same", _AGAIN),
    "42": State(StorageError, "the server does not understand the statement", "Read what it says."),
    "42501": State(SchemaError, "it is not allowed for this role", _ASK_OWNER),
    "42703": State(SchemaError, "the schema is missing or incomplete", _MIGRATE),
    "42883": State(SchemaError, "the schema is missing or incomplete", _MIGRATE),
    "42P01": State(SchemaError, "the schema is missing or incomplete", _MIGRATE),
    "53": State(StorageError, "the server is short of something", "Give the server more of what it names, then do the same again."),
    "53100": State(StorageError, "the server's disk is full", _SPACE),
    "53200": State(
        StorageError,
        "the server is out of memory",
        "Give the server more memory, or raise what it names, such as max_locks_per_transaction.",
    ),
    "53300": State(
        DatabaseUnavailableError,
        "the server has no connection left",
        "Close others, raise max_connections, or put a pooler in front; then do the same again.",
    ),
    "53400": State(StorageError, "a limit of the server's configuration is reached", "Raise the limit that it names."),
    "54": State(StorageError, "a value or a statement is larger than PostgreSQL can take", "Give less of it at once."),
    "55": State(StorageError, "something is not in a state that allows this", "Read what it says, then do the same again."),
    "55P03": State(TimedOutError, "another session held a lock for too long", "Do the same again, or raise lock_timeout."),
    "57": State(StorageError, "somebody stepped in on the server", _AGAIN),
    "57014": State(
        TimedOutError,
        "the statement took longer than it may, or was cancelled",
        "Do the same again, with less at once, or raise statement_timeout for this role.",
    ),
    "57P01": State(DatabaseUnavailableError, "the server ended the session, or is shutting down", _RESTARTED),
    "57P02": State(DatabaseUnavailableError, "a process of the server crashed, and the server restarts", _RESTARTED),
    "57P03": State(DatabaseUnavailableError, "the server is starting up or shutting down", _RESTARTED),
    "57P04": State(DatabaseUnavailableError, "the database was dropped", "Connect to another."),
    "57P05": State(DatabaseUnavailableError, "the session was idle for too long and was ended", _AGAIN),
    "58": State(
        StorageError,
        "the server's file system failed",
        "Look at disk space, limits, and the file that it names.",
    ),
    "P0": State(StorageError, "a function or trigger refused it", "Read what it says."),
    "XX": State(
        StorageError,
        "the server met an error of its own or damaged data",
        "Look into the server's log; `pgretrieval check` tells what of a collection is sound.",
    ),
}
"""By SQLSTATE or, where one is not there itself, by its first two characters."""

_UNKNOWN = State(StorageError, "the server refused it", "Read what it says.")
_LOST = STATES["08"]
_REFUSED = State(DatabaseUnavailableError, "the server refused the connection", "Correct the URL, or what the server names.")
_ANSWER_OF_A_SERVER = re.compile(r"failed: [^\s:]+:  ")  # "failed: FATAL:  ", in whatever language


def describe_server(url: str) -> str:
    """Host, port and database of a connection string, without its password."""
    parts = conninfo_to_dict(url)
    host, port = str(parts.get("host") or ""), parts.get("port") or 5432
    where = f"{host}:{port}" if host and not host.startswith("/") else f"the local socket {host}".strip()
    return f"{where}, database {parts.get('dbname') or parts.get('user') or 'postgres'!r}"


@contextmanager
def storage_errors(url: str, doing: str, *, all_or_nothing: bool = False) -> Iterator[None]:
    """Turn what psycopg raises while `doing` something into an error of this package.

    `all_or_nothing` adds that nothing was stored, where that may be asked.
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
