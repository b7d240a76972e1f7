"""Proving that a collection is sound: what the server can say of its rows, and that every code decodes to some direction."""

from __future__ import annotations

import numpy as np

from pgretrieval.db import catalog, checks, codebooks
from pgretrieval.db.catalog import CollectionRow
from pgretrieval.db.checks import StoredCodes
from pgretrieval.db.connection import Connection, Database
from pgretrieval.index.coding import codebook_from_row
from pgretrieval.index.work import Stage
from pgretrieval.quantize.codebook import Codebook
from pgretrieval.types import CodebookId, Violation

_SHOWN = 20  # of each rule, as the SQL function does
_BATCH = 1024  # passages decoded together: some hundred megabytes at 240 tokens of 128 dimensions
_SHORTEST = 1e-6  # below it the scaled vector is rounding error


def check(database: Database, collection: CollectionRow, stage: Stage | None = None) -> list[Violation]:
    """What is wrong with a collection, in one snapshot; `stage` is told the name, done and total of each part."""
    stage = stage or _silent
    found: list[Violation] = []
    with database.reading(f"checking collection {collection.name!r}") as connection:
        current = catalog.state(connection, collection.collection_id)
        for part in checks.parts(connection):
            stage(part, 0, 1)
            found += checks.violations(connection, collection.name, part)
            stage(part, 1, 1)
        # What is wrong with the codebook itself was said; with it nothing can be decoded.
        if current.codebook_id is not None and not any(violation.rule in _SPOIL_DECODING for violation in found):
            found += _undirected(connection, collection, current.codebook_id, current.passages, stage)
    return found


_SPOIL_DECODING = {"bad_codebook", "wrong_dimension"}


def _silent(_name: str, _done: int, _total: int) -> None:
    pass


def _undirected(
    connection: Connection, collection: CollectionRow, codebook_id: CodebookId, passages: int, stage: Stage
) -> list[Violation]:
    """Passages with a code that decodes to no direction: of length zero, or not finite."""
    codebook = codebook_from_row(codebooks.load(connection, collection.collection_id, codebook_id))
    wrong: list[tuple[str, int]] = []
    done = 0
    width = codebook.codec.width
    for stored in checks.stream_codes(connection, collection.collection_id, codebook_id, width, _BATCH):
        stage("decoding", done, passages)
        wrong += _without_direction(codebook, stored)
        done += len(stored.ids)
    stage("decoding", passages, passages)
    return [
        Violation("undirected_code", key, f"{tokens} of its tokens decode to a vector without a direction", len(wrong))
        for key, tokens in sorted(wrong)[:_SHOWN]
    ]


def _without_direction(codebook: Codebook, stored: StoredCodes) -> list[tuple[str, int]]:
    """Ids of passages, each with the number of its tokens that have no direction."""
    known = (stored.centroid_ids >= 0) & (stored.centroid_ids < len(codebook.centroids))
    decoded = codebook.decode(np.where(known, stored.centroid_ids, 0), stored.residuals)
    lengths = np.sqrt(np.einsum("td,td->t", decoded, decoded))
    bad = known & ~(np.isfinite(lengths) & (lengths > _SHORTEST))
    if not bad.any():
        return []
    owners, counts = np.unique(np.searchsorted(stored.offsets, np.flatnonzero(bad), side="right") - 1, return_counts=True)
    return [(stored.ids[owner], count) for owner, count in zip(owners.tolist(), counts.tolist(), strict=True)]
