"""Mapping of SQLSTATEs to errors."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from psycopg import errors as pg

import pgretrieval
from pgretrieval.db.errors import STATES, state_of, storage_errors

_DOCUMENTED = (Path(pgretrieval.__file__).parents[1] / "docs" / "reference" / "errors.md").read_text(encoding="utf-8")
_URL = "postgresql://somebody:secret@db.example:5433/mine"


@pytest.mark.parametrize("state", STATES)
def test_states_are_documented(state: str):
    """The documentation shows each state as the code defines it."""
    told = STATES[state]
    assert f"| `{state}` | `{told.error.__name__}` | {told.meaning} | {told.remedy} |" in _DOCUMENTED


@pytest.mark.parametrize(
    ("raised", "error", "told"),
    [
        (pg.QueryCanceled("x"), pgretrieval.TimedOutError, "the statement exceeded its time limit"),
        (pg.LockNotAvailable("x"), pgretrieval.TimedOutError, "held a lock"),
        (pg.DiskFull("x"), pgretrieval.StorageError, "disk is full"),
        (pg.OutOfMemory("x"), pgretrieval.StorageError, "out of memory"),
        (pg.ProgramLimitExceeded("x"), pgretrieval.StorageError, "too large for PostgreSQL"),
        (pg.StatementTooComplex("x"), pgretrieval.StorageError, "too large for PostgreSQL"),
        (pg.ReadOnlySqlTransaction("x"), pgretrieval.StorageError, "read-only"),
        (pg.TooManyConnections("x"), pgretrieval.DatabaseUnavailableError, "no free connection"),
        (pg.AdminShutdown("x"), pgretrieval.DatabaseUnavailableError, "ended the session"),
        (pg.InvalidPassword("x"), pgretrieval.DatabaseUnavailableError, "rejected the login"),
        (pg.InvalidCatalogName("x"), pgretrieval.DatabaseUnavailableError, "no such database"),
        (pg.SerializationFailure("x"), pgretrieval.ConflictError, "another transaction changed the same rows"),
        (pg.UndefinedTable("x"), pgretrieval.SchemaError, "the schema is missing"),
        (pg.InsufficientPrivilege("x"), pgretrieval.SchemaError, "this role lacks a right"),
        (pg.DataCorrupted("x"), pgretrieval.StorageError, "damaged data"),
        (pg.ConnectionDoesNotExist("x"), pgretrieval.DatabaseUnavailableError, "the connection was lost"),
        (psycopg.OperationalError("x"), pgretrieval.DatabaseUnavailableError, "the connection was lost"),
        (
            psycopg.OperationalError('connection to server at "h", port 1 failed: FATAL:  no such role'),
            pgretrieval.DatabaseUnavailableError,
            "the server refused the connection",
        ),
        (
            psycopg.OperationalError('connection to server at "h", port 1 failed: Connection refused'),
            pgretrieval.DatabaseUnavailableError,
            "the connection was lost",
        ),
        (psycopg.ProgrammingError("x"), pgretrieval.StorageError, "the server raised an error"),
    ],
)
def test_an_error_of_the_driver(raised: psycopg.Error, error: type[Exception], told: str):
    """Each driver error has the right class and meaning, and no message contains the password."""
    with pytest.raises(pgretrieval.StorageError) as caught, storage_errors(_URL, "doing it", all_or_nothing=True):
        raise raised
    assert type(caught.value) is error
    assert told in str(caught.value)
    assert str(caught.value).endswith(f"Nothing of this call was stored. {state_of(raised).remedy}")
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is raised
    assert ("connection was lost" in str(caught.value)) == (told == "the connection was lost")
