"""Passage rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from psycopg import errors as pg

from pgretrieval.assets import statements
from pgretrieval.buckets import PassageIds
from pgretrieval.db.handles import CollectionTables
from pgretrieval.db.metadata import as_jsonb
from pgretrieval.db.writing import write_rows
from pgretrieval.errors import DuplicateIdError
from pgretrieval.types import Int32Array, Int64Array, Passage, Restriction
from pgretrieval.validate import INT4

_SQL = statements("passages")


def reserve_ids(tables: CollectionTables, count: int) -> Int32Array:
    """Fresh passage ids, ascending."""
    return np.sort(np.array([row[0] for row in tables.rows(_SQL["reserve"], n=count)], dtype=np.int32))


def copy(tables: CollectionTables, numbered: PassageIds, passages: Sequence[Passage], token_counts: Int64Array) -> None:
    """Write passages.

    Raises DuplicateIdError where another transaction was faster with one of the ids.
    """
    rows = (
        (tables.collection_id, bucket, passage_id, passage.id, passage.title, passage.text, as_jsonb(passage.metadata), tokens)
        for bucket, passage_id, passage, tokens in zip(
            numbered.buckets.tolist(), numbered.ids.tolist(), passages, token_counts.tolist(), strict=True
        )
    )
    try:
        types = ["int4", "int2", "int4", "text", "text", "text", "jsonb", "int4"]
        write_rows(tables.connection, "pgretrieval.passage", _SQL["copy"], _SQL["insert"], types, rows)
    except pg.UniqueViolation as error:
        msg = f"an id is in the collection already: {error.diag.message_detail}"
        raise DuplicateIdError(msg) from error


def remove(tables: CollectionTables, restriction: Restriction) -> int:
    """Delete the passages of a restriction with all that belongs to them; how many there were."""
    return int(tables.value(_SQL["remove"].format(among=restriction.ids), **restriction.named))


def set_metadata(tables: CollectionTables, passages: Sequence[Passage]) -> None:
    """Write metadata of passages that have these titles and texts already."""
    tables.execute(
        _SQL["set_metadata"],
        keys=[passage.id for passage in passages],
        titles=[passage.title for passage in passages],
        bodies=[passage.text for passage in passages],
        metadata=[as_jsonb(passage.metadata) for passage in passages],
    )


def existing(tables: CollectionTables, keys: Sequence[str]) -> dict[str, Passage]:
    """Return the stored passages of the given ids, by id."""
    rows = tables.rows(_SQL["existing"], keys=list(keys))
    return {key: Passage(key, body, title, metadata) for key, title, body, metadata in rows}


def matching(tables: CollectionTables, restriction: Restriction) -> dict[str, Passage]:
    """Return the stored passages of a restriction by id, in the order in which they were stored."""
    rows = tables.rows(_SQL["matching"].format(among=restriction.ids), **restriction.named)
    return {key: Passage(key, body, title, metadata) for key, title, body, metadata in rows}


def texts(tables: CollectionTables, passage_ids: list[int]) -> dict[int, tuple[str, str | None, str, dict[str, Any]]]:
    """Passage id -> (the caller's id, title, text, metadata)."""
    rows = tables.rows(_SQL["texts"], passage_ids=passage_ids)
    return {row[0]: (row[1], row[2], row[3], row[4]) for row in rows}


def in_buckets(tables: CollectionTables, ids: Int32Array) -> PassageIds:
    """Return passages with their buckets; those that are gone have 0."""
    found = PassageIds.of(tables.rows(_SQL["buckets"], passage_ids=ids.tolist()))
    buckets = dict(zip(found.ids.tolist(), found.buckets.tolist(), strict=True))
    return PassageIds(ids, np.array([buckets.get(number, 0) for number in ids.tolist()], dtype=np.int16))


def stream(tables: CollectionTables, batch: int) -> Iterator[list[tuple[int, Passage]]]:
    """All passages with their passage ids, in batches, by a server-side cursor of the running transaction."""
    with tables.connection.cursor(name="pgretrieval_passages") as cursor:
        cursor.execute(_SQL["all"], tables.ids)
        while rows := cursor.fetchmany(batch):
            yield [(row[0], Passage(row[1], row[3], row[2], row[4])) for row in rows]


def without_vectors(
    tables: CollectionTables, encoding: int, batch: int, first: int = 0, last: int = INT4
) -> list[tuple[int, Passage]]:
    """Some passages, with numbers from first to last, that have no token vectors of an encoding; empty when all have."""
    rows = tables.rows(_SQL["without_vectors"], encoding=encoding, n=batch, first=first, last=last)
    return [(row[0], Passage(row[1], row[3], row[2], row[4])) for row in rows]
