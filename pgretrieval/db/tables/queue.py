"""The queue of changed rows: workers claim keys, read their rows, and delete the entries with what they write."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import psycopg

from pgretrieval.assets import statements
from pgretrieval.db.connection import Connection, Database, value
from pgretrieval.db.handles import CollectionTables
from pgretrieval.errors import PgRetrievalError
from pgretrieval.types import CollectionId

_SQL = statements("queue")
_ROWS_FAULTS = (
    "22",
    "23",
    "54",
)  # data, constraints, limits of a value's size: classes of errors that follow from what a row holds

CLAIMED = 20.0  # seconds that keys stay claimed for a worker that does not renew it, such as one that has died

Entries = dict[str, list[int]]
"""Claimed keys, each with the entries that stand for it."""


class SourceRow(NamedTuple):
    """Desired passage of a row: the row's key, the passage's id, the text columns in order, and metadata."""

    key: str
    id: str
    texts: list[str | None]
    metadata: dict[str, Any]


@contextmanager
def claiming(tables: CollectionTables) -> Iterator[bool]:
    """A transaction of a worker; False where the collection is being detached."""
    with tables.connection.transaction():
        tables.connection.execute(_SQL["begin"])
        tables.execute(_SQL["join"])
        yield bool(tables.value(_SQL["is_attached"]))


def expand(tables: CollectionTables) -> int | None:
    """Queue each key in the place of an entry for all of them; None where there was none."""
    added: int | None = tables.value(_SQL["expand"])
    return added


def claim(tables: CollectionTables, most: int) -> Entries:
    """Keys that are due and nobody else's for `CLAIMED` seconds, with all their entries."""
    found: Entries = dict(tables.rows(_SQL["claim"], n=most))
    entries = [entry for each in found.values() for entry in each]
    tables.connection.execute(_SQL["claim_entries"], {"entries": entries, "seconds": CLAIMED})
    return found


def lock(tables: CollectionTables, keys: Sequence[str]) -> Entries:
    """Lock the keys that no other session has locked, until the transaction ends; return them with all their entries."""
    return dict(tables.rows(_SQL["lock"], keys=list(keys)))


@contextmanager
def renewing_claims(database: Database, entries: Sequence[int]) -> Iterator[None]:
    """Renew claims in a thread meanwhile, so that they last as long as the worker lives."""
    over = threading.Event()

    def renew() -> None:
        while not over.wait(CLAIMED / 4):
            with suppress(PgRetrievalError), database.connection("renewing what is claimed of the queue") as connection:
                connection.execute(_SQL["renew"], {"entries": list(entries), "seconds": CLAIMED})

    thread = threading.Thread(target=renew, name="pgretrieval-claims", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def release_claim(database: Database, entries: Sequence[int]) -> None:
    """Release the remaining claimed entries at once. If the server does not answer, the claim expires."""
    with suppress(PgRetrievalError), database.connection("leaving what was claimed of the queue") as connection:
        connection.execute(_SQL["release_claim"], {"entries": list(entries)})


def held_by_others(tables: CollectionTables) -> tuple[int, str | None]:
    """Return the number of due keys that could not be claimed, and the sessions that may hold them."""
    count, holders = tables.rows(_SQL["held_by_others"])[0]
    return int(count), holders


def source_rows(database: Database, name: str, collection_id: CollectionId, keys: Sequence[str]) -> list[SourceRow]:
    """The rows as they are now. Not in the transaction of the batch, whose end the application's DDL would have to wait for.

    Raises ConfigError where the table or a column is not there any more.
    """
    with database.connection(f"reading what collection {name!r} is attached to") as connection:
        rows = connection.execute(_SQL["source_rows"], {"collection_id": collection_id, "keys": list(keys)}).fetchall()
    return [SourceRow(*row) for row in rows]


def done(connection: Connection, entries: Sequence[int]) -> None:
    """The collection agrees with the rows of these entries."""
    connection.execute(_SQL["done"], {"entries": list(entries)})


def failed(connection: Connection, entries: Sequence[int], error: str, *, at_once: bool, most: int) -> bool:
    """Note the error of one key; whether it is parked now, `at_once` or after the last of `most` attempts."""
    parameters = {"entries": list(entries), "error": error, "at_once": at_once, "most": most}
    return bool(value(connection, _SQL["failed"], parameters))


def assign(tables: CollectionTables, keys_of: dict[str, str]) -> None:
    """Note the source key of each passage id."""
    tables.execute(_SQL["assign"], ids=list(keys_of), keys=list(keys_of.values()))


def release(tables: CollectionTables, keys: Sequence[str], ids: Sequence[str]) -> list[str]:
    """Ids of passages that came from `keys` and are not among `ids`; they are forgotten."""
    return [row[0] for row in tables.rows(_SQL["release"], keys=list(keys), ids=list(ids))]


def is_rows_fault(error: BaseException) -> bool:
    """Return whether the server rejected the content of a row."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, psycopg.Error) and (cause.sqlstate or "")[:2] in _ROWS_FAULTS:
            return True
        cause = cause.__cause__
    return False


def is_of_the_server(error: BaseException) -> bool:
    """Return whether the server or the connection caused an error."""
    return isinstance(error, psycopg.Error)


def is_due(database: Database, names: Sequence[str], left_alone: Sequence[str]) -> bool:
    """Return whether the queues of the named collections, or of all, have due entries, except for paused ones."""
    parameters = {"names": list(names) or None, "left_alone": list(left_alone)}
    with database.connection("looking at the queue") as connection:
        return bool(value(connection, _SQL["due"], parameters))
