"""Consistency check of a collection: rules that the server checks, and the decoding of every code."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pgretrieval.db import checks
from pgretrieval.db.checks import StoredCodes
from pgretrieval.db.connection import Database
from pgretrieval.db.handles import IndexTables
from pgretrieval.db.tables import codebooks, collections, passages
from pgretrieval.db.tables.codebooks import CodebookRow
from pgretrieval.db.tables.collections import CollectionRow
from pgretrieval.index.work import Stage
from pgretrieval.numerics.decoder import Decoder
from pgretrieval.types import ByteArray, Float32Array, Int32Array, Int64Array, Scoring, Violation

_SHOWN = 20  # violations shown for each rule, as in the SQL function
_BATCH = 1024  # passages decoded together: some hundred megabytes at 240 tokens of 128 dimensions
_SHORTEST = 1e-6  # shorter vectors are rounding errors
_FOREIGN_MIN_TOKENS = 6  # of a passage, to detect codes of another codebook
_FOREIGN_EXCESS = (
    0.5  # excess length as a share of the residuals' squared lengths: at most 0 for right codes, about 1 for foreign ones
)
_FOREIGN_MIN_RESIDUAL = 1e-3  # squared length for each token beyond the rounding of the codec


class _Codebook(NamedTuple):
    """Stored codebook, decoded without torch, whose import takes longer than most checks."""

    decoder: Decoder
    cutoffs: Float32Array
    unit: bool


def check(database: Database, collection: CollectionRow, stage: Stage | None = None) -> list[Violation]:
    """Return the violations of a collection in one snapshot; `stage` is called with name, done and total of each part."""
    stage = stage or _no_progress
    found: list[Violation] = []
    with database.reading(f"checking collection {collection.name!r}", dedicated=True) as connection:
        current = collections.state(collection.tables(connection))
        for part in checks.parts(connection):
            stage(part, 0, 1)
            found += checks.violations(connection, collection.name, part)
            stage(part, 1, 1)
        # A codebook with violations cannot decode.
        if current.codebook_id is not None and not any(violation.rule in _SPOIL_DECODING for violation in found):
            found += _decoding_violations(
                collection.tables(connection).index(current.codebook_id), collection.scoring, current.passages, stage
            )
    return found


Float64Array: TypeAlias = NDArray[np.float64]
Sums: TypeAlias = Float64Array
"""(3, tokens or passages): number of tokens, excess of their squared lengths over their centroids', and squared lengths of their
residuals; the largest possible rounding to the codec's levels is subtracted from both."""

_SPOIL_DECODING = {"bad_codebook", "wrong_dimension"}


def _no_progress(_name: str, _done: int, _total: int) -> None:
    pass


def _decoding_violations(index: IndexTables, scoring: Scoring, total: int, stage: Stage) -> list[Violation]:
    """Return violations of codes that decode to a vector of length zero or to one that is not finite."""
    codebook = _codebook(codebooks.load(index), unit=scoring.unit_vectors)
    if not scoring.codes_by_passage:
        return _token_violations(index, codebook, stage)
    wrong: list[tuple[str, int]] = []
    foreign: list[str] = []
    done = 0
    centroids, width = len(codebook.decoder.centroids), codebook.decoder.width
    for stored in checks.stream_codes(index, centroids, width, _BATCH):
        stage("decoding", done, total)
        wrong += _without_direction(codebook, stored)
        foreign += _of_another_codebook(codebook, stored)
        done += len(stored.ids)
    stage("decoding", total, total)
    return _undirected_violations(wrong) + _foreign_violations(foreign)


def _codebook(row: CodebookRow, *, unit: bool) -> _Codebook:
    cutoffs, levels = (np.array(numbers, dtype=np.float32) for numbers in (row.cutoffs, row.weights))
    return _Codebook(Decoder(row.centroids, levels, row.bits), cutoffs, unit)


def _token_violations(index: IndexTables, codebook: _Codebook, stage: Stage) -> list[Violation]:
    """Return the same violations for codes that are stored by centroid only."""
    wrong: Counter[int] = Counter()
    lengths = np.zeros((3, 0))
    done = 0
    for listed in checks.stream_posting_codes(index, codebook.decoder.width, _BATCH):
        stage("decoding", done, len(codebook.decoder.centroids))
        wrong.update(listed.passage_ids[_undirected_places(codebook, listed.centroid_ids, listed.residuals)].tolist())
        lengths = _add_by_owner(lengths, listed.passage_ids, _lengths(codebook, listed.centroid_ids, listed.residuals))
        done = min(done + len(np.unique(listed.centroid_ids)), len(codebook.decoder.centroids))
    stage("decoding", len(codebook.decoder.centroids), len(codebook.decoder.centroids))
    longer = np.flatnonzero(_is_foreign(*lengths)).tolist()
    shown = passages.texts(index, sorted({*wrong, *longer}))
    return _undirected_violations(
        [(shown[passage_id][0], tokens) for passage_id, tokens in wrong.items() if passage_id in shown]
    ) + _foreign_violations([shown[passage_id][0] for passage_id in longer if passage_id in shown])


def _undirected_violations(wrong: list[tuple[str, int]]) -> list[Violation]:
    return [
        Violation("undirected_code", key, f"{tokens} of its tokens decode to a vector without a direction", len(wrong))
        for key, tokens in sorted(wrong)[:_SHOWN]
    ]


def _foreign_violations(wrong: list[str]) -> list[Violation]:
    detail = "its codes belong to another codebook; delete it and add it again, or rebuild"
    return [Violation("foreign_code", key, detail, len(wrong)) for key in sorted(wrong)[:_SHOWN]]


def _of_another_codebook(codebook: _Codebook, stored: StoredCodes) -> list[str]:
    """Return ids of passages whose codes do not match the centroids that they name.

    A unit vector is the sum of a centroid and a residual. With a wrong centroid the sum is longer, by about the residual's length.
    Rounding also lengthens a vector near its centroid, since no level of the codec is 0, so the rounding is subtracted. With one
    bit the rounding is the whole residual, and nothing is detected.
    """
    owners = np.repeat(np.arange(len(stored.ids)), np.diff(stored.offsets))
    sums = _add_by_owner(np.zeros((3, len(stored.ids))), owners, _lengths(codebook, stored.centroid_ids, stored.residuals))
    return [stored.ids[place] for place in np.flatnonzero(_is_foreign(*sums)).tolist()]


def _lengths(codebook: _Codebook, centroid_ids: Int32Array, residuals: ByteArray) -> Sums:
    """Return `Sums` of each token; zeros for vectors that are not of unit length."""
    known = (centroid_ids >= 0) & (centroid_ids < len(codebook.decoder.centroids)) & codebook.unit
    centroids = codebook.decoder.centroids[np.where(known, centroid_ids, 0)]
    decoded = codebook.decoder.decode(np.where(known, centroid_ids, 0), residuals)
    residual = decoded - centroids
    squared = [np.einsum("td,td->t", rows, rows, dtype=np.float64) for rows in (decoded, centroids, residual)]
    rounding = _rounding(codebook)[np.searchsorted(codebook.cutoffs, residual)].sum(axis=1)
    basis = np.stack([np.ones(len(known)), squared[0] - squared[1] - rounding, squared[2] - rounding])
    lengths: Sums = basis * known
    return lengths


def _rounding(codebook: _Codebook) -> Float64Array:
    """Return the largest squared rounding error of each bucket (2**bits,), towards 0 for the outer buckets."""
    cutoffs, levels = codebook.cutoffs.astype(np.float64), codebook.decoder.levels.astype(np.float64)
    below, above = levels[1:] - cutoffs, cutoffs - levels[:-1]
    far: Float64Array = np.maximum(np.append(0, below), np.append(above, 0)) ** 2
    return far


def _add_by_owner(sums: Sums, owners: NDArray[np.integer], values: Sums) -> Sums:
    """Add the values (3, tokens) of tokens to the sums (3, owners)."""
    size = max(sums.shape[1], int(owners.max(initial=-1)) + 1)
    added: Sums = np.stack([np.bincount(owners, weights=row, minlength=size) for row in values])
    added[:, : sums.shape[1]] += sums
    return added


def _is_foreign(tokens: Float64Array, excess: Float64Array, residual: Float64Array) -> NDArray[np.bool_]:
    enough = (tokens >= _FOREIGN_MIN_TOKENS) & (residual > _FOREIGN_MIN_RESIDUAL * tokens)
    foreign: NDArray[np.bool_] = enough & (excess > _FOREIGN_EXCESS * residual)
    return foreign


def _without_direction(codebook: _Codebook, stored: StoredCodes) -> list[tuple[str, int]]:
    """Return ids of passages with the number of their tokens without a direction."""
    bad = _undirected_places(codebook, stored.centroid_ids, stored.residuals)
    if not len(bad):
        return []
    owners, counts = np.unique(np.searchsorted(stored.offsets, bad, side="right") - 1, return_counts=True)
    return [(stored.ids[owner], count) for owner, count in zip(owners.tolist(), counts.tolist(), strict=True)]


def _undirected_places(codebook: _Codebook, centroid_ids: Int32Array, residuals: ByteArray) -> Int64Array:
    """Return positions of codes that decode to no direction; zero vectors are valid in collections without unit vectors."""
    known = (centroid_ids >= 0) & (centroid_ids < len(codebook.decoder.centroids))
    decoded = codebook.decoder.decode(np.where(known, centroid_ids, 0), residuals)
    lengths = np.sqrt(np.einsum("td,td->t", decoded, decoded))
    directed = np.isfinite(lengths) & ((lengths > _SHORTEST) | (not codebook.unit))
    return np.flatnonzero(known & ~directed)
