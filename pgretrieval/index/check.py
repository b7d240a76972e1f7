"""Proving that a collection is sound: what the server can say of its rows, and that every code decodes to some direction."""

from __future__ import annotations

from collections import Counter
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from pgretrieval.db import checks
from pgretrieval.db.checks import StoredCodes
from pgretrieval.db.connection import Connection, Database
from pgretrieval.db.tables import codebooks, collections, passages
from pgretrieval.db.tables.collections import CollectionRow
from pgretrieval.index.coding import codebook_from_row
from pgretrieval.index.work import Stage
from pgretrieval.numerics.codebook import Codebook
from pgretrieval.types import ByteArray, CodebookId, Int32Array, Int64Array, Violation

_SHOWN = 20  # of each rule, as the SQL function does
_BATCH = 1024  # passages decoded together: some hundred megabytes at 240 tokens of 128 dimensions
_SHORTEST = 1e-6  # below it the scaled vector is rounding error
_TOKENS_THAT_TELL = 6  # of a passage, whose codes are another codebook's
_LONGER = (
    0.5  # part of the residuals' squared lengths by which tokens are too long: at most 0 of right codes, about 1 of foreign ones
)
_RESIDUAL_THAT_TELLS = 1e-3  # squared length beyond what rounding explains, by token


def check(database: Database, collection: CollectionRow, stage: Stage | None = None) -> list[Violation]:
    """What is wrong with a collection, in one snapshot; `stage` is told the name, done and total of each part."""
    stage = stage or _silent
    found: list[Violation] = []
    with database.reading(f"checking collection {collection.name!r}", apart=True) as connection:
        current = collections.state(connection, collection.collection_id)
        for part in checks.parts(connection):
            stage(part, 0, 1)
            found += checks.violations(connection, collection.name, part)
            stage(part, 1, 1)
        # What is wrong with the codebook itself was said; with it nothing can be decoded.
        if current.codebook_id is not None and not any(violation.rule in _SPOIL_DECODING for violation in found):
            found += _undirected(connection, collection, current.codebook_id, current.passages, stage)
    return found


Float64Array: TypeAlias = NDArray[np.float64]
Sums: TypeAlias = Float64Array
"""(3, tokens or passages): how many tokens, by how much their squared lengths exceed their centroids', and their residuals' squared
lengths; from both the most is taken that rounding to the codec's levels explains."""

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
    foreign: list[str] = []
    done = 0
    width = codebook.codec.width
    for stored in checks.stream_codes(connection, collection.collection_id, codebook_id, width, _BATCH):
        stage("decoding", done, total)
        wrong += _without_direction(codebook, stored)
        foreign += _of_another_codebook(codebook, stored)
        done += len(stored.ids)
    stage("decoding", total, total)
    return _told(wrong) + _told_foreign(foreign)


def _undirected_tokens(
    connection: Connection, collection: CollectionRow, codebook_id: CodebookId, codebook: Codebook, stage: Stage
) -> list[Violation]:
    """The same where codes are kept by centroid alone."""
    wrong: Counter[int] = Counter()
    lengths = np.zeros((3, 0))
    where, done = (connection, collection.collection_id, codebook_id), 0
    for listed in checks.stream_posting_codes(*where, codebook.codec.width, _BATCH):
        stage("decoding", done, len(codebook.centroids))
        wrong.update(listed.passage_ids[_bad(codebook, listed.centroid_ids, listed.residuals)].tolist())
        lengths = _added(lengths, listed.passage_ids, _lengths(codebook, listed.centroid_ids, listed.residuals))
        done = min(done + len(np.unique(listed.centroid_ids)), len(codebook.centroids))
    stage("decoding", len(codebook.centroids), len(codebook.centroids))
    longer = np.flatnonzero(_tells(*lengths)).tolist()
    shown = passages.texts(connection, collection.collection_id, sorted({*wrong, *longer}))
    return _told([(shown[passage_id][0], tokens) for passage_id, tokens in wrong.items() if passage_id in shown]) + _told_foreign(
        [shown[passage_id][0] for passage_id in longer if passage_id in shown]
    )


def _told(wrong: list[tuple[str, int]]) -> list[Violation]:
    return [
        Violation("undirected_code", key, f"{tokens} of its tokens decode to a vector without a direction", len(wrong))
        for key, tokens in sorted(wrong)[:_SHOWN]
    ]


def _told_foreign(wrong: list[str]) -> list[Violation]:
    detail = "its codes were made with another codebook than they are read with; delete it and add it again, or rebuild"
    return [Violation("foreign_code", key, detail, len(wrong)) for key in sorted(wrong)[:_SHOWN]]


def _of_another_codebook(codebook: Codebook, stored: StoredCodes) -> list[str]:
    """Ids of passages whose codes do not fit the centroids that they name.

    A vector of length one is a centroid and a residual that leads back to that length. Another centroid has nothing to do with the
    residual, so that the sum of both is longer, by the residual's own length. A vector near its centroid becomes longer by its
    rounding, since no level of the codec is 0; the rounding is therefore left out. With one bit that is the whole residual, and
    nothing is told.
    """
    owners = np.repeat(np.arange(len(stored.ids)), np.diff(stored.offsets))
    sums = _added(np.zeros((3, len(stored.ids))), owners, _lengths(codebook, stored.centroid_ids, stored.residuals))
    return [stored.ids[place] for place in np.flatnonzero(_tells(*sums)).tolist()]


def _lengths(codebook: Codebook, centroid_ids: Int32Array, residuals: ByteArray) -> Sums:
    """Of each token; nothing where lengths are not all one."""
    known = (centroid_ids >= 0) & (centroid_ids < len(codebook.centroids)) & codebook.unit
    centroids = codebook.centroids[np.where(known, centroid_ids, 0)]
    decoded = codebook.decode(np.where(known, centroid_ids, 0), residuals)
    residual = decoded - centroids
    squared = [np.einsum("td,td->t", rows, rows, dtype=np.float64) for rows in (decoded, centroids, residual)]
    rounding = _rounding(codebook)[np.searchsorted(codebook.codec.cutoffs.numpy(), residual)].sum(axis=1)
    told = np.stack([np.ones(len(known)), squared[0] - squared[1] - rounding, squared[2] - rounding])
    lengths: Sums = told * known
    return lengths


def _rounding(codebook: Codebook) -> Float64Array:
    """(2**bits,): how far, squared, a coordinate of each bucket can be from the bucket's level, on the side of 0 at the ends."""
    cutoffs, levels = codebook.codec.cutoffs.numpy().astype(np.float64), codebook.codec.weights.numpy().astype(np.float64)
    below, above = levels[1:] - cutoffs, cutoffs - levels[:-1]
    far: Float64Array = np.maximum(np.append(0, below), np.append(above, 0)) ** 2
    return far


def _added(sums: Sums, owners: NDArray[np.integer], values: Sums) -> Sums:
    """`sums` (3, owners) with the values (3, tokens) of their tokens."""
    size = max(sums.shape[1], int(owners.max(initial=-1)) + 1)
    added: Sums = np.stack([np.bincount(owners, weights=row, minlength=size) for row in values])
    added[:, : sums.shape[1]] += sums
    return added


def _tells(tokens: Float64Array, excess: Float64Array, residual: Float64Array) -> NDArray[np.bool_]:
    enough = (tokens >= _TOKENS_THAT_TELL) & (residual > _RESIDUAL_THAT_TELLS * tokens)
    told: NDArray[np.bool_] = enough & (excess > _LONGER * residual)
    return told


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
