"""Reads of a check: violations found by `pgretrieval.check`, and stored codes for the checks in Python."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from pgretrieval.assets import statements
from pgretrieval.db import wire
from pgretrieval.db.candidates import ListedTokens, listed_tokens
from pgretrieval.db.connection import Connection
from pgretrieval.db.handles import IndexTables
from pgretrieval.db.parameters import as_sent
from pgretrieval.types import ByteArray, Int32Array, Int64Array, Violation

_SQL = statements("check")


class StoredCodes(NamedTuple):
    """Ids of some passages, and their codes: those of ids[i] are rows offsets[i]:offsets[i + 1]."""

    ids: list[str]
    offsets: Int64Array
    centroid_ids: Int32Array
    residuals: ByteArray


def parts(connection: Connection) -> list[str]:
    """The names of the parts of a check."""
    return [row[0] for row in connection.execute(_SQL["parts"]).fetchall()]


def violations(connection: Connection, name: str, part: str) -> list[Violation]:
    """Return the violations of one part of the check."""
    return [Violation(*row) for row in connection.execute(_SQL["check"], {"name": name, "part": part}).fetchall()]


def stream_codes(tables: IndexTables, centroids: int, width: int, batch: int) -> Iterator[StoredCodes]:
    """Codes of all passages with the right number of bytes for their tokens, in batches of the running transaction."""
    with tables.connection.cursor(name="pgretrieval_codes", binary=True) as cursor:
        cursor.execute(_SQL["codes"], tables.ids | {"id_bytes": wire.id_bytes(centroids), "width": width})
        while rows := cursor.fetchmany(batch):
            yield StoredCodes(
                [row[0] for row in rows],
                *wire.read_centroid_ids([row[1] for row in rows], centroids),
                np.frombuffer(b"".join(row[2] for row in rows), dtype=np.uint8).reshape(-1, width),
            )


def stream_posting_codes(tables: IndexTables, width: int, batch: int) -> Iterator[ListedTokens]:
    """Tokens by centroid of all rows with the right number of bytes, in batches of the running transaction."""
    with tables.connection.cursor(name="pgretrieval_posting_codes", binary=True) as cursor:
        as_sent(cursor)
        cursor.execute(_SQL["posting_codes"], tables.ids | {"width": width})
        while rows := cursor.fetchmany(batch):
            yield listed_tokens(rows, width)
