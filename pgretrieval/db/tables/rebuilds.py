"""Rebuilds under way: what one makes, the locks it takes, the switch, and dropping what it replaced."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from psycopg import errors as pg
from psycopg.types.json import Jsonb

from pgretrieval.assets import statements
from pgretrieval.db.connection import Connection, Database
from pgretrieval.db.handles import CollectionTables, IndexTables
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
def exclusively(database: Database, doing: str, collection_id: CollectionId, meanwhile: Callable[[], None]) -> Iterator[Connection]:
    """Keep other builds and rebuilds of the collection waiting; yields the connection that has the lock.

    `meanwhile` is called again and again while another build has it.
    """
    with database.locking(doing) as connection:
        tables = CollectionTables(connection, collection_id)
        while not _has_locked(tables):
            meanwhile()
        yield connection


def _has_locked(tables: CollectionTables) -> bool:
    try:
        with tables.connection.transaction():
            lock(tables)
    except pg.LockNotAvailable:
        return False
    return True


def lock(tables: CollectionTables) -> None:
    """Have the lock against other rebuilds until the transaction ends.

    Asked again in the same transaction it does nothing, but fails where the connection was lost.
    """
    tables.execute(_SQL["lock"])
    tables.connection.execute(_SQL["let_go"])


def find(tables: CollectionTables) -> Rebuild | None:
    """The collection's rebuild under way, if there is one."""
    row = tables.one(_SQL["get"])
    return Rebuild(*row) if row else None


def begin(tables: CollectionTables, rebuild: Rebuild) -> None:
    """Write down what is to be made, in place of another, so that a later call can go on with it."""
    parameters = {
        "encoder": Jsonb(rebuild.encoder) if rebuild.encoder else None,
        "dim": rebuild.dim,
        "encoding": rebuild.encoding,
        "vectors_per_passage": rebuild.vectors_per_passage,
    }
    with tables.connection.transaction():
        tables.execute(_SQL["begin"], **parameters)
        tables.execute(_SQL["inline_codes"], **parameters)


def trained(tables: IndexTables) -> None:
    """Note the codebook, in the transaction that writes it."""
    tables.execute(_SQL["trained"])


def words_written(tables: CollectionTables, mean_words: float | None) -> None:
    """Note the mean length that postings of words were written with."""
    tables.execute(_SQL["words_written"], mean_words=mean_words)


@contextmanager
def trying_to_switch(tables: CollectionTables) -> Iterator[bool]:
    """A transaction that has the collection alone, or False where somebody has it for longer than half a second.

    Waiting longer would make all others wait who come later.
    """
    with tables.connection.transaction():
        try:
            with tables.connection.transaction():
                tables.execute(_SQL["lock_for_switch"])
        except pg.LockNotAvailable:
            yield False
        else:
            yield True


def switch(tables: IndexTables, dense_dim: int | None) -> None:
    """Let searches use what the rebuild made; `dense_dim` is given where it made dense vectors too. In one transaction."""
    for statement in ("keep_segments_of_words", "switch", "switched"):
        tables.execute(_SQL[statement], dense_dim=dense_dim)


def drop_replaced(tables: CollectionTables) -> bool:
    """Drop what rebuilds replaced or gave up, in bounded steps; False where something is in use for long and was left."""
    refused = 0
    while refused < _ATTEMPTS:
        dropped = _drop_some(tables)
        if dropped is None:
            refused += 1
            time.sleep(_BETWEEN_ATTEMPTS)
        elif not dropped:
            return True
    return False


def _drop_some(tables: CollectionTables) -> bool | None:
    """False where nothing was left; None where somebody was in the way."""
    try:
        with tables.connection.transaction():
            return bool(tables.value(_SQL["drop_replaced"], n=_ROWS_AT_ONCE))
    except pg.LockNotAvailable:
        return None
