"""Proving that a collection is sound: what the server can say of its rows, and that every code decodes to some direction."""

from __future__ import annotations

from collections import Counter

import numpy as np

from pgretrieval.db import catalog, checks, codebooks, passages
from pgretrieval.db.catalog import CollectionRow
from pgretrieval.db.checks import StoredCodes
from pgretrieval.db.connection import Connection, Database
from pgretrieval.index.coding import codebook_from_row
from pgretrieval.index.work import Stage
from pgretrieval.quantize.codebook import Codebook
from pgretrieval.types import ByteArray, CodebookId, Int32Array, Int64Array, Violation

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
    connection: Connection, collection: CollectionRow, codebook_id: CodebookId, total: int, stage: Stage
) -> list[Violation]:
    """Passages with a code that decodes to no direction: of length zero, or not finite."""
    scoring = collection.scoring
    codebook = codebook_from_row(codebooks.load(connection, collection.collection_id, codebook_id), unit=scoring.unit_vectors)
    if not scoring.codes_by_passage:
        return _undirected_tokens(connection, collection, codebook_id, codebook, stage)
    wrong: list[tuple[str, int]] = []
    done = 0
    width = codebook.codec.width
    for stored in checks.stream_codes(connection, collection.collection_id, codebook_id, width, _BATCH):
        stage("decoding", done, total)
        wrong += _without_direction(codebook, stored)
        done += len(stored.ids)
    stage("decoding", total, total)
    return _told(wrong)


def _undirected_tokens(
    connection: Connection, collection: CollectionRow, codebook_id: CodebookId, codebook: Codebook, stage: Stage
) -> list[Violation]:
    """The same where codes are kept by centroid alone."""
    wrong: Counter[int] = Counter()
    where, done = (connection, collection.collection_id, codebook_id), 0
    for listed in checks.stream_posting_codes(*where, codebook.codec.width, _BATCH):
        stage("decoding", done, len(codebook.centroids))
        wrong.update(listed.passage_ids[_bad(codebook, listed.centroid_ids, listed.residuals)].tolist())
        done = min(done + len(np.unique(listed.centroid_ids)), len(codebook.centroids))
    stage("decoding", len(codebook.centroids), len(codebook.centroids))
    shown = passages.texts(connection, collection.collection_id, sorted(wrong))
    return _told([(shown[passage_id][0], tokens) for passage_id, tokens in wrong.items() if passage_id in shown])


def _told(wrong: list[tuple[str, int]]) -> list[Violation]:
    return [
        Violation("undirected_code", key, f"{tokens} of its tokens decode to a vector without a direction", len(wrong))
        for key, tokens in sorted(wrong)[:_SHOWN]
    ]


def _without_direction(codebook: Codebook, stored: StoredCodes) -> list[tuple[str, int]]:
    """Ids of passages, each with the number of its tokens that have no direction."""
    bad = _bad(codebook, stored.centroid_ids, stored.residuals)
    if not len(bad):
        return []
    owners, counts = np.unique(np.searchsorted(stored.offsets, bad, side="right") - 1, return_counts=True)
    return [(stored.ids[owner], count) for owner, count in zip(owners.tolist(), counts.tolist(), strict=True)]


def _bad(codebook: Codebook, centroid_ids: Int32Array, residuals: ByteArray) -> Int64Array:
    """Positions of codes that decode to no direction; where lengths are kept, a vector of length zero is one like others."""
    known = (centroid_ids >= 0) & (centroid_ids < len(codebook.centroids))
    decoded = codebook.decode(np.where(known, centroid_ids, 0), residuals)
    lengths = np.sqrt(np.einsum("td,td->t", decoded, decoded))
    directed = np.isfinite(lengths) & ((lengths > _SHORTEST) | (not codebook.unit))
    return np.flatnonzero(known & ~directed)
