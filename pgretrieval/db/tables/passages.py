"""Passage rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from psycopg import errors as pg

from pgretrieval.assets import statements
from pgretrieval.db.connection import Connection, value
from pgretrieval.db.metadata import as_jsonb
from pgretrieval.db.writing import write_rows
from pgretrieval.errors import DuplicateIdError
from pgretrieval.types import CollectionId, Int32Array, Int64Array, Passage, Restriction

_SQL = statements("passages")


def reserve_ids(connection: Connection, collection_id: CollectionId, count: int) -> Int32Array:
    """Fresh passage ids, ascending."""
    rows = connection.execute(_SQL["reserve"], {"collection_id": collection_id, "n": count}).fetchall()
    return np.sort(np.array([row[0] for row in rows], dtype=np.int32))


def copy(
    connection: Connection,
    collection_id: CollectionId,
    passage_ids: Int32Array,
    passages: Sequence[Passage],
    token_counts: Int64Array,
) -> None:
    """Write passages.

    Raises DuplicateIdError where another transaction was faster with one of the ids.
    """
    rows = (
        (collection_id, passage_id, passage.id, passage.title, passage.text, as_jsonb(passage.metadata), tokens)
        for passage_id, passage, tokens in zip(passage_ids.tolist(), passages, token_counts.tolist(), strict=True)
    )
    try:
        types = ["int4", "int4", "text", "text", "text", "jsonb", "int4"]
        write_rows(connection, "pgretrieval.passage", _SQL["copy"], _SQL["insert"], types, rows)
    except pg.UniqueViolation as error:
        msg = f"an id is in the collection already: {error.diag.message_detail}"
        raise DuplicateIdError(msg) from error


def remove(connection: Connection, collection_id: CollectionId, restriction: Restriction) -> int:
    """Delete the passages of a restriction with all that belongs to them; how many there were."""
    parameters = {"collection_id": collection_id, **restriction.named}
    return int(value(connection, _SQL["remove"].format(among=restriction.ids), parameters))


def set_metadata(connection: Connection, collection_id: CollectionId, passages: Sequence[Passage]) -> None:
    """Write metadata of passages that have these titles and texts already."""
    parameters = {
        "collection_id": collection_id,
        "keys": [passage.id for passage in passages],
        "titles": [passage.title for passage in passages],
        "bodies": [passage.text for passage in passages],
        "metadata": [as_jsonb(passage.metadata) for passage in passages],
    }
    connection.execute(_SQL["set_metadata"], parameters)


def existing(connection: Connection, collection_id: CollectionId, keys: Sequence[str]) -> dict[str, Passage]:
    """Return the stored passages of the given ids, by id."""
    rows = connection.execute(_SQL["existing"], {"collection_id": collection_id, "keys": list(keys)}).fetchall()
    return {key: Passage(key, body, title, metadata) for key, title, body, metadata in rows}


def texts(
    connection: Connection, collection_id: CollectionId, passage_ids: list[int]
) -> dict[int, tuple[str, str | None, str, dict[str, Any]]]:
    """Passage id -> (the caller's id, title, text, metadata)."""
    rows = connection.execute(_SQL["texts"], {"collection_id": collection_id, "passage_ids": passage_ids}).fetchall()
    return {row[0]: (row[1], row[2], row[3], row[4]) for row in rows}


def stream(connection: Connection, collection_id: CollectionId, batch: int) -> Iterator[list[tuple[int, Passage]]]:
    """All passages with their passage ids, in batches, by a server-side cursor of the running transaction."""
    with connection.cursor(name="pgretrieval_passages") as cursor:
        cursor.execute(_SQL["all"], {"collection_id": collection_id})
        while rows := cursor.fetchmany(batch):
            yield [(row[0], Passage(row[1], row[3], row[2], row[4])) for row in rows]


def without_vectors(connection: Connection, collection_id: CollectionId, encoding: int, batch: int) -> list[tuple[int, Passage]]:
    """Some passages that have no token vectors of an encoding; empty when all have."""
    parameters = {"collection_id": collection_id, "encoding": encoding, "n": batch}
    rows = connection.execute(_SQL["without_vectors"], parameters).fetchall()
    return [(row[0], Passage(row[1], row[3], row[2], row[4])) for row in rows]
