"""Rebuilds under way: what one makes, the locks it takes, the switch, and dropping what it replaced."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from psycopg import errors as pg
from psycopg.types.json import Jsonb

from pgretrieval.assets import statements
from pgretrieval.db.connection import Connection, Database, one, value
from pgretrieval.types import CodebookId, CollectionId

_SQL = statements("rebuilds")
_ROWS_AT_ONCE = 2000
_ATTEMPTS = 20
_BETWEEN_ATTEMPTS = 0.5


@dataclass(frozen=True, slots=True)
class Rebuild:
    """A build or rebuild under way.

    `encoder` is what it changes the encoder to, None for no change; `encoding` whose token vectors it works on, of `dim`
    dimensions, `vectors_per_passage` of each passage if that is one number. `codebook_id` is None until it is trained. `switched`
    tells that only dropping what was replaced is left.
    """

    encoder: dict[str, str] | None
    dim: int
    encoding: int
    codebook_id: CodebookId | None = None
    mean_words: float | None = None
    switched: bool = False
    vectors_per_passage: int | None = None


@contextmanager
def alone(database: Database, doing: str, collection_id: CollectionId) -> Iterator[Connection]:
    """Wait for other builds and rebuilds of the collection, and keep new ones waiting; yields the connection that has the lock."""
    with database.holding(doing) as connection:
        lock(connection, collection_id)
        yield connection


def lock(connection: Connection, collection_id: CollectionId) -> None:
    """Have the lock against other rebuilds until the transaction ends.

    Asked again in the same transaction it does nothing, but fails where the connection was lost.
    """
    connection.execute(_SQL["lock"], {"collection_id": collection_id})
    connection.execute(_SQL["let_go"])


def find(connection: Connection, collection_id: CollectionId) -> Rebuild | None:
    """The collection's rebuild under way, if there is one."""
    row = one(connection, _SQL["get"], {"collection_id": collection_id})
    return Rebuild(*row) if row else None


def begin(connection: Connection, collection_id: CollectionId, rebuild: Rebuild) -> None:
    """Write down what is to be made, in place of another, so that a later call can go on with it."""
    encoder = Jsonb(rebuild.encoder) if rebuild.encoder else None
    parameters = {
        "collection_id": collection_id,
        "encoder": encoder,
        "dim": rebuild.dim,
        "encoding": rebuild.encoding,
        "vectors_per_passage": rebuild.vectors_per_passage,
    }
    with connection.transaction():
        connection.execute(_SQL["begin"], parameters)
        connection.execute(_SQL["inline_codes"], parameters)


def trained(connection: Connection, collection_id: CollectionId, codebook_id: CodebookId) -> None:
    """Note the codebook, in the transaction that writes it."""
    connection.execute(_SQL["trained"], {"collection_id": collection_id, "codebook_id": codebook_id})


def words_written(connection: Connection, collection_id: CollectionId, mean_words: float | None) -> None:
    """Note the mean length that postings of words were written with."""
    connection.execute(_SQL["words_written"], {"collection_id": collection_id, "mean_words": mean_words})


@contextmanager
def trying_to_switch(connection: Connection, collection_id: CollectionId) -> Iterator[bool]:
    """A transaction that has the collection alone, or False where somebody has it for longer than half a second.

    Waiting longer would make all others wait who come later.
    """
    with connection.transaction():
        try:
            with connection.transaction():
                connection.execute(_SQL["lock_for_switch"], {"collection_id": collection_id})
        except pg.LockNotAvailable:
            yield False
        else:
            yield True


def switch(connection: Connection, collection_id: CollectionId, codebook_id: CodebookId, dense_dim: int | None) -> None:
    """Let searches use what the rebuild made; `dense_dim` is given where it made dense vectors too. In one transaction."""
    parameters = {"collection_id": collection_id, "codebook_id": codebook_id, "dense_dim": dense_dim}
    for statement in ("keep_segments_of_words", "switch", "switched"):
        connection.execute(_SQL[statement], parameters)


def drop_replaced(connection: Connection, collection_id: CollectionId) -> bool:
    """Drop what rebuilds replaced or gave up, in bounded steps; False where something is in use for long and was left."""
    refused = 0
    while refused < _ATTEMPTS:
        dropped = _drop_some(connection, collection_id)
        if dropped is None:
            refused += 1
            time.sleep(_BETWEEN_ATTEMPTS)
        elif not dropped:
            return True
    return False


def _drop_some(connection: Connection, collection_id: CollectionId) -> bool | None:
    """False where nothing was left; None where somebody was in the way."""
    try:
        with connection.transaction():
            return bool(value(connection, _SQL["drop_replaced"], {"collection_id": collection_id, "n": _ROWS_AT_ONCE}))
    except pg.LockNotAvailable:
        return None
