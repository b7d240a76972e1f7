"""What may be attached, and the first filling of the queue."""

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
    """Install the triggers, then queue every key; returns how many are queued. Raises ConfigError, CollectionNotFoundError."""
    if not isinstance(id, str) or not id.strip():
        msg = f"id is {validate.shown(id)}; name one column. Where the key has several, attach a query that makes one id of them"
        raise ConfigError(msg)
    id = validate.text("id", id, most=validate.MAX_NAME)
    texts, fields = _columns(text, "text"), _columns(metadata, "metadata")
    row = collections.find(database, name)
    if row.given_vectors:
        msg = f"collection {name!r} holds passages with given vectors, and workers encode texts; attach another collection"
        raise ConfigError(msg)
    indexed = attachments.attach(database, name, table, id, texts, fields, query)
    if not indexed:
        message = f"no index of {table} begins with {id!r}: for each batch of changes a worker reads the whole table; create one"
        warnings.warn(message, PgRetrievalWarning, stacklevel=3)
    # In a transaction after the one of the triggers: writers of the table wait for that one alone, and what they change after it is
    # queued by their own.
    with (
        database.apart(f"queueing the rows of {table}") as session,
        queue.claiming(session, row.collection_id) as connection,
    ):
        if connection is not None:
            queue.expand(connection, row.collection_id)
    return queued(database, name)


def queued(database: Database, name: str) -> int:
    """Entries of an attached collection that wait for a worker. Raises ConfigError where it is not attached."""
    attached = find(database, name)
    with database.connection(f"looking at the queue of collection {name!r}") as connection:
        return int(attachments.state(connection, attached.collection_id)["queued"] or 0)


def find(database: Database, name: str) -> attachments.Attached:
    """Raises ConfigError where the collection is not attached, CollectionNotFoundError where there is none."""
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
