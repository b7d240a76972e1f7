"""Reconciliation of a collection with rows of its table; idempotent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from pgretrieval.collection import Collection
from pgretrieval.corpus.validate import to_passage
from pgretrieval.db.connection import Connection
from pgretrieval.db.tables import queue
from pgretrieval.db.tables.attachments import Attached
from pgretrieval.db.tables.queue import SourceRow
from pgretrieval.errors import InputError
from pgretrieval.index.changes import add_ahead
from pgretrieval.index.sources import EncodedAhead
from pgretrieval.types import Passage, WorkReport
from pgretrieval.validate import MAX_ID_BYTES, shown


@dataclass(slots=True)
class DesiredPassages:
    """Passages of rows by id, the key of each passage's row, and the reasons for which rows were refused, by key."""

    passages: dict[str, Passage] = field(default_factory=dict)
    keys_of: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)


def desired_passages(source: str, rows: Sequence[SourceRow]) -> DesiredPassages:
    """Return the passages that the collection should contain for the given rows."""
    found = DesiredPassages()
    by_key: dict[str, list[SourceRow]] = {}
    for row in rows:
        by_key.setdefault(row.key, []).append(row)
    for key, of_key in by_key.items():
        _add_key(found, source, key, of_key)
    return found


def _add_key(found: DesiredPassages, source: str, key: str, rows: Sequence[SourceRow]) -> None:
    """Add all passages of a key, or none."""
    try:
        if len(key.encode()) > MAX_ID_BYTES:
            msg = f"the key {shown(key)} of {source} has {len(key.encode()):,} bytes; the maximum is {MAX_ID_BYTES:,}"
            raise InputError(msg)
        passages = _passages(source, rows, found)
    except InputError as error:
        found.refused[key] = str(error)
    else:
        found.passages |= passages
        found.keys_of |= dict.fromkeys(passages, key)


def reconcile(
    collection: Collection,
    attached: Attached,
    keys: Sequence[str],
    found: DesiredPassages,
    ahead: EncodedAhead,
    connection: Connection,
) -> WorkReport:
    """Write and delete passages of `keys` in the transaction that has locked them; refused keys are excluded.

    Raises NotEncodedError if a text is not in `ahead`.
    """
    requested = set(keys)
    ids = [passage_id for passage_id, key in found.keys_of.items() if key in requested]
    if attached.queried:
        tables = attached.tables(connection)
        deleted = queue.release(tables, keys, ids)
        queue.assign(tables, {passage_id: found.keys_of[passage_id] for passage_id in ids})
    else:
        deleted = [key for key in keys if key not in found.passages]
    if not ids:
        return WorkReport(0, collection.delete(deleted, connection=connection) if deleted else 0)
    report = add_ahead(collection._opened, [found.passages[passage_id] for passage_id in ids], ahead, connection)
    return WorkReport(report.passages, collection.delete(deleted, connection=connection) if deleted else 0)


def _passages(source: str, rows: Sequence[SourceRow], found: DesiredPassages) -> dict[str, Passage]:
    passages: dict[str, Passage] = {}
    for row in rows:
        if (passage := _passage(source, row)) is None:
            continue
        if passage.id in passages or passage.id in found.passages:
            msg = f"{source} returns the id {passage.id!r} twice; each passage needs its own id, which a query can compute"
            raise InputError(msg)
        passages[passage.id] = passage
    return passages


def _passage(source: str, row: SourceRow) -> Passage | None:
    """Return the passage of a row, None without text. The first of several texts is the title, or the text if there is no other."""
    title, *rest = row.texts if len(row.texts) > 1 else (None, *row.texts)
    body = "\n\n".join(text for text in rest if text and text.strip())
    if not body:
        title, body = None, title or ""
    if not body.strip():
        return None
    record = {"id": row.id, "title": title, "text": body, "metadata": row.metadata}
    return to_passage(record, f"row {shown(row.key)} of {source}")
