"""Attachments of collections to tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from pgretrieval.assets import statements
from pgretrieval.db.connection import Connection, Database, value
from pgretrieval.db.handles import CollectionTables
from pgretrieval.errors import ConfigError
from pgretrieval.types import CollectionId

_SQL = statements("attachments")
_SHOWN = 20


class Attached(NamedTuple):
    """A collection that follows a table; `queried`, its passages are what a query yields."""

    collection_id: CollectionId
    name: str
    source: str
    queried: bool

    def tables(self, connection: Connection) -> CollectionTables:
        """Return the handle of the collection's tables over a connection."""
        return CollectionTables(connection, self.collection_id)


def attach(
    database: Database, name: str, table: str, id: str, texts: Sequence[str], metadata: Sequence[str], query: str | None
) -> bool:
    """Install the triggers, and queue all there is; returns whether an index leads to a row by its key.

    Raises ConfigError, naming it, where the table or a column is not there, or cannot be followed.
    """
    with database.writing(f"attaching collection {name!r} to {table}") as connection:
        source = _relation(connection, table)
        if source is None:
            there = [row[0] for row in connection.execute(_SQL["tables"]).fetchall()]
            shown = ", ".join(there[:_SHOWN]) + (f" and {len(there) - _SHOWN} more" if len(there) > _SHOWN else "")
            msg = f"there is no table {table!r} in this database; there are: {shown or 'none'}"
            raise ConfigError(msg)
        if query is not None:
            query = _relation(connection, query.strip()) or query
        parameters = {"name": name, "source": source, "id": id, "texts": list(texts), "metadata": list(metadata), "query": query}
        connection.execute(_SQL["attach"], parameters)
        return bool(value(connection, _SQL["indexed"], {"source": source, "id": id}))


def detach(database: Database, name: str) -> bool:
    """Remove the triggers and what is queued; False where the collection was not attached."""
    with database.writing(f"detaching collection {name!r}") as connection:
        return bool(value(connection, _SQL["detach"], {"name": name}))


def resync(database: Database, name: str, keys: Sequence[str] | None) -> None:
    """Queue keys, or all of them. Raises ConfigError where the collection is not attached."""
    with database.writing(f"queueing rows for collection {name!r}") as connection:
        connection.execute(_SQL["resync"], {"name": name, "keys": None if keys is None else list(keys)})


def attached(database: Database) -> list[Attached]:
    """All collections that are attached, by name."""
    with database.connection("listing attached collections") as connection:
        return [Attached(*row) for row in connection.execute(_SQL["attached"]).fetchall()]


def state(tables: CollectionTables) -> dict[str, Any]:
    """The table, the state of its triggers, and what is queued and parked."""
    return dict(tables.value(_SQL["state"]))


def states(database: Database) -> dict[str, dict[str, Any]]:
    """`state` of all that is attached, by the collection's name."""
    everything = attached(database)
    with database.connection("looking at attached collections") as connection:
        return {each.name: state(each.tables(connection)) for each in everything}


def _relation(connection: Connection, name: str) -> str | None:
    found: str | None = value(connection, _SQL["relation"], {"name": name})
    return found
