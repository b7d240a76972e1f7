"""What a search reads: candidates with their codes, and what its hits show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from psycopg.rows import TupleRow

from pgretrieval.assets import statements
from pgretrieval.db.connection import Connection, value
from pgretrieval.db.wire import offsets_of
from pgretrieval.types import ByteArray, CodebookId, CollectionId, Float32Array, Int32Array, Int64Array

_SQL = statements("search")


@dataclass(frozen=True, slots=True)
class CodedPassages:
    """Codes of several passages: (tokens,) centroid ids, (tokens, width) residual bytes, and each passage's offset."""

    passage_ids: list[int]
    offsets: Int64Array
    centroid_ids: Int32Array
    residuals: ByteArray

    @property
    def bytes_moved(self) -> int:
        """Bytes of codes that came from the server."""
        return self.centroid_ids.nbytes + self.residuals.nbytes


@dataclass(frozen=True, slots=True)
class Probes:
    """The centroids to look up, each once, with the sum of its scores over the query tokens that probe it."""

    centroid_ids: Int32Array
    scores: Float32Array


def active_codebook(connection: Connection, collection_id: CollectionId) -> CodebookId | None:
    """The codebook that is active in this snapshot. None before the first build."""
    found = value(connection, _SQL["active_codebook"], {"collection_id": collection_id})
    return CodebookId(found) if found is not None else None


def with_residuals(
    connection: Connection, collection_id: CollectionId, codebook_id: CodebookId, probes: Probes, limit: int, width: int
) -> CodedPassages:
    """The best `limit` candidates with all their codes, in one round trip."""
    rows = _fetch(connection, "candidate_codes", _parameters(collection_id, codebook_id, probes, limit))
    return _coded(rows, width)


def centroids_only(
    connection: Connection, collection_id: CollectionId, codebook_id: CodebookId, probes: Probes, limit: int
) -> CodedPassages:
    """The best `limit` candidates with their centroid ids alone: what centroid interaction needs."""
    rows = _fetch(connection, "candidate_centroids", _parameters(collection_id, codebook_id, probes, limit))
    return _coded([(*row, b"") for row in rows], 0)


def codes_of(
    connection: Connection, collection_id: CollectionId, codebook_id: CodebookId, passage_ids: list[int], width: int
) -> CodedPassages:
    """All codes of the given passages, in no particular order."""
    parameters = {"collection_id": collection_id, "codebook_id": codebook_id, "passage_ids": passage_ids}
    return _coded(_fetch(connection, "codes_of", parameters), width)


def postings_read(connection: Connection, collection_id: CollectionId, codebook_id: CodebookId, probes: Probes) -> int:
    """How many postings the probes name; for explain."""
    parameters = {
        "collection_id": collection_id,
        "codebook_id": codebook_id,
        "centroid_ids": probes.centroid_ids.tolist(),
    }
    return int(value(connection, _SQL["postings_read"], parameters))


def _parameters(collection_id: CollectionId, codebook_id: CodebookId, probes: Probes, limit: int) -> dict[str, Any]:
    return {
        "collection_id": collection_id,
        "codebook_id": codebook_id,
        "centroid_ids": probes.centroid_ids.tolist(),
        "centroid_scores": probes.scores.tolist(),
        "n": limit,
    }


def _fetch(connection: Connection, statement: str, parameters: dict[str, Any]) -> list[TupleRow]:
    with connection.cursor(binary=True) as cursor:
        return cursor.execute(_SQL[statement], parameters, prepare=True).fetchall()


def _coded(rows: list[TupleRow], width: int) -> CodedPassages:
    centroid_ids = np.frombuffer(b"".join(row[1] for row in rows), dtype="<i4")
    residuals = np.frombuffer(b"".join(row[2] for row in rows), dtype=np.uint8)
    offsets = offsets_of([len(row[1]) // 4 for row in rows])
    return CodedPassages(
        [row[0] for row in rows],
        offsets,
        centroid_ids.astype(np.int32, copy=False),
        residuals.reshape(-1, max(width, 1)),
    )
