"""Compaction: merge posting segments and drop entries of removed passages, in short transactions."""

from __future__ import annotations

import threading

from pgretrieval.db.connection import Database
from pgretrieval.db.tables import collections
from pgretrieval.db.tables.collections import CollectionRow
from pgretrieval.index.work import Stage


def compact(
    database: Database, collection: CollectionRow, stage: Stage | None = None, stopping: threading.Event | None = None
) -> None:
    """Merge posting segments and drop entries of removed passages, while searches and changes continue.

    Each step is committed, so that an interrupted compaction resumes, also one ended by `stopping`. Returns at once if another
    session compacts the collection.
    """
    doing = f"compacting collection {collection.name!r}"
    with database.dedicated(doing) as connection:
        steps = 0
        while collections.compact(connection, collection.name):
            steps += 1
            if stage:
                stage("compact", *collections.compaction_progress(collection.tables(connection)))
            if stopping and stopping.is_set():
                return
        if steps:
            collections.vacuum(connection, collection.collection_id, collection.scoring.postings, "word_posting")


def compact_if_needed(database: Database, collection: CollectionRow) -> None:
    """Compact in the background if the collection compacts automatically and enough entries have accumulated."""
    with database.connection(f"checking the segments of collection {collection.name!r}") as connection:
        if not collections.needs_compaction(collection.tables(connection)):
            return
    database.background.start(
        f"compacting collection {collection.name!r}", lambda stopping: compact(database, collection, stopping=stopping)
    )
