"""Compaction: segments of postings are merged, and entries of removed passages dropped, in short transactions."""

from __future__ import annotations

import threading

from pgretrieval.db.connection import Database
from pgretrieval.db.tables import collections
from pgretrieval.db.tables.collections import CollectionRow
from pgretrieval.index.work import Stage


def compact(
    database: Database, collection: CollectionRow, stage: Stage | None = None, stopping: threading.Event | None = None
) -> None:
    """Tidy up what adds and deletes have left; searches, adds and deletes go on meanwhile.

    Each step is committed, so that a compaction that is interrupted, by `stopping` or by force, goes on where it was. It returns at
    once where another session is at it.
    """
    doing = f"compacting collection {collection.name!r}"
    with database.apart(doing) as connection:
        steps = 0
        while collections.compact(connection, collection.name):
            steps += 1
            if stage:
                stage("compact", *collections.compaction_progress(connection, collection.collection_id))
            if stopping and stopping.is_set():
                return
        if steps:
            collections.vacuum(connection, collection.collection_id, collection.scoring.postings, "word_posting")


def compact_if_needed(database: Database, collection: CollectionRow) -> None:
    """Compact in the background where the collection does so by itself and enough has gathered."""
    with database.connection(f"looking after collection {collection.name!r}") as connection:
        if not collections.needs_compaction(connection, collection.collection_id):
            return
    database.background.start(
        f"compacting collection {collection.name!r}", lambda stopping: compact(database, collection, stopping=stopping)
    )
