"""Attaching a collection to a table: checks, and the first filling of the queue."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from pgretrieval import validate
from pgretrieval.db.connection import Database
from pgretrieval.db.tables import attachments, collections, queue
from pgretrieval.errors import ConfigError, PgRetrievalWarning


def attach(
    database: Database, name: str, table: str, id: str, text: str | Sequence[str], metadata: str | Sequence[str], query: str | None
) -> int:
    """Install the triggers and queue every key; return the number of queued entries. Raises ConfigError,
    CollectionNotFoundError.
    """
    if not isinstance(id, str) or not id.strip():
        msg = (
            f"id is {validate.shown(id)}; name one column. For a key of several columns, attach a query that combines them to an id"
        )
        raise ConfigError(msg)
    id = validate.text("id", id, most=validate.MAX_NAME)
    texts, fields = _columns(text, "text"), _columns(metadata, "metadata")
    row = collections.find(database, name)
    if row.given_vectors:
        msg = f"collection {name!r} contains passages with given vectors, but workers encode texts; attach another collection"
        raise ConfigError(msg)
    indexed = attachments.attach(database, name, table, id, texts, fields, query)
    if not indexed:
        message = f"no index of {table} begins with {id!r}, so a worker reads the whole table for each batch of changes; create one"
        warnings.warn(message, PgRetrievalWarning, stacklevel=3)
    # In a second transaction, because writers of the table wait only for that of the triggers; these queue
    # all later changes.
    with database.dedicated(f"queueing the rows of {table}") as session:
        tables = row.tables(session)
        with queue.claiming(tables) as still_attached:
            if still_attached:
                queue.expand(tables)
    return queued(database, name)


def queued(database: Database, name: str) -> int:
    """Return the number of queue entries of an attached collection. Raises ConfigError if it is not attached."""
    attached = find(database, name)
    with database.connection(f"reading the queue of collection {name!r}") as connection:
        return int(attachments.state(attached.tables(connection))["queued"] or 0)


def find(database: Database, name: str) -> attachments.Attached:
    """Return the attachment of a collection. Raises ConfigError if it is not attached, CollectionNotFoundError if it does not
    exist.
    """
    for attached in attachments.attached(database):
        if attached.name == name:
            return attached
    collections.find(database, name)
    msg = (
        f"collection {name!r} is not attached to a table; attach it first: db.attach(…), or pgretrieval attach on the command line"
    )
    raise ConfigError(msg)


def _columns(given: str | Sequence[str], what: str) -> list[str]:
    columns = [given] if isinstance(given, str) else validate.listed(what, given, "names of columns")
    return [validate.text(f"{what}: a column", column) for column in columns]
