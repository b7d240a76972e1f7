"""Codes of passages and postings of centroids."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np

from pgretrieval.assets import statements
from pgretrieval.buckets import PassageIds
from pgretrieval.db import wire
from pgretrieval.db.handles import CollectionTables, IndexTables
from pgretrieval.db.parameters import Int4Array
from pgretrieval.db.writing import write_rows
from pgretrieval.types import ByteArray, Int16Array, Int32Array, Int64Array

_SQL = statements("codes")

_CHUNK = 1996  # bytes in which Postgres stores what is out of line, four to a page
_IN_LINE = 1950  # bytes of ids and tail up to which Postgres keeps both in line


class Postings(NamedTuple):
    """Posting lists: passages of centroid_ids[i] in buckets[i] are passage_ids[offsets[i]:offsets[i + 1]], ascending."""

    centroid_ids: Int32Array
    buckets: Int16Array
    offsets: Int64Array
    passage_ids: Int32Array


class PostingCodes(NamedTuple):
    """Tokens by centroid and bucket: those of centroid_ids[i] in buckets[i] are rows offsets[i]:offsets[i + 1] of the rest.

    They are in the order of passage and position.
    """

    centroid_ids: Int32Array
    buckets: Int16Array
    offsets: Int64Array
    passage_ids: Int32Array
    positions: Int32Array
    residuals: ByteArray


def copy_codes(
    tables: IndexTables,
    passages: PassageIds,
    offsets: Int64Array,
    centroid_ids: Int32Array,
    residuals: ByteArray,
    centroids: int,
) -> None:
    """Write the codes of passages; rows `offsets[i]:offsets[i + 1]` of (tokens,) ids and (tokens, width) bytes are passage i's.

    Long rows come first, as rows of like lengths fill pages.
    """
    ids, id_bytes = wire.centroid_ids_field(centroid_ids, centroids), wire.id_bytes(centroids)
    packed, width = residuals.tobytes(), residuals.shape[1]
    lengths = np.diff(offsets)
    tails = tail_bytes(lengths * width, lengths * id_bytes)
    in_line = lengths * id_bytes + np.where(lengths * width > _CHUNK, tails, lengths * width)
    order = np.argsort(-in_line, kind="stable")
    places = (
        part[order].tolist() for part in (passages.buckets, passages.ids, offsets[:-1], offsets[1:], offsets[1:] * width - tails)
    )
    rows = (
        (
            tables.collection_id,
            tables.codebook_id,
            bucket,
            passage_id,
            ids[start * id_bytes : end * id_bytes],
            packed[start * width : cut],
            packed[cut : end * width],
        )
        for bucket, passage_id, start, end, cut in zip(*places, strict=True)
    )
    types = ["int4", "int4", "int2", "int4", "bytea", "bytea", "bytea"]
    write_rows(tables.connection, "pgretrieval.token_code", _SQL["copy"], _SQL["insert"], types, rows)


def tail_bytes(residuals: Int64Array, centroid_ids: Int64Array) -> Int64Array:
    """Return how many of the last of so many bytes of each passage are in line: `pgretrieval.tail_bytes`, for many."""
    tails = residuals % _CHUNK
    return np.where((residuals > _CHUNK) & (centroid_ids + tails <= _IN_LINE), tails, 0)


def copy_postings(tables: IndexTables, segment: int, postings: Postings) -> None:
    """Write the postings of one segment."""
    fields = wire.int4_array_fields(postings.passage_ids, postings.offsets)
    rows = (
        (tables.collection_id, tables.codebook_id, centroid_id, bucket, segment, field)
        for centroid_id, bucket, field in zip(postings.centroid_ids.tolist(), postings.buckets.tolist(), fields, strict=True)
    )
    types = ["int4", "int4", "int4", "int2", "int4", "bytea"]
    write_rows(tables.connection, "pgretrieval.posting", _SQL["copy_postings"], _SQL["insert_postings"], types, rows)


def copy_posting_codes(tables: IndexTables, segment: int, tokens: PostingCodes) -> None:
    """Write the tokens of one segment."""
    listed = zip(
        tokens.centroid_ids.tolist(),
        tokens.buckets.tolist(),
        wire.int4_array_fields(tokens.passage_ids, tokens.offsets),
        wire.int4_array_fields(tokens.positions, tokens.offsets),
        itertools.pairwise(tokens.offsets.tolist()),
        strict=True,
    )
    rows = (
        (tables.collection_id, tables.codebook_id, centroid_id, bucket, segment, *fields, tokens.residuals[start:end].tobytes())
        for centroid_id, bucket, *fields, (start, end) in listed
    )
    types = ["int4", "int4", "int4", "int2", "int4", "bytea", "bytea", "bytea"]
    write_rows(tables.connection, "pgretrieval.posting_code", _SQL["copy_posting_codes"], _SQL["insert_posting_codes"], types, rows)


def forget_codes_by_passage(tables: IndexTables) -> None:
    """Empty the codes of passages, which postings hold from now on; that the passages are coded stays."""
    tables.execute(_SQL["forget_codes_by_passage"])


def note_segment(
    tables: IndexTables, segment: int, passages: int, tokens: int, posting_rows: int, quantization_error: float | None
) -> None:
    """Write down that a segment is there, for compaction, and how well its tokens are coded, for drift."""
    tables.execute(
        _SQL["note_segment"],
        segment=segment,
        passages=passages,
        tokens=tokens,
        posting_rows=posting_rows,
        quantization_error=quantization_error,
    )


def coded(tables: IndexTables) -> Int32Array:
    """Ids of the passages that have codes under the codebook."""
    return np.array([row[0] for row in tables.rows(_SQL["coded"])], dtype=np.int32)


def uncoded(tables: IndexTables) -> Int32Array:
    """Ids of the passages that have no codes under the codebook, ascending."""
    return np.array([row[0] for row in tables.rows(_SQL["uncoded"])], dtype=np.int32)


def uncoded_between(tables: IndexTables, encoding: int, first: int, last: int) -> Int32Array:
    """Ids from first to last of the passages that have vectors of an encoding and no codes under the codebook, ascending."""
    rows = tables.rows(_SQL["uncoded_between"], encoding=encoding, first=first, last=last)
    return np.array([row[0] for row in rows], dtype=np.int32)


def drop_removed(tables: IndexTables) -> None:
    """Remove a codebook's codes of passages that are gone, and note that its postings may list these."""
    for statement in ("note_removed", "drop_codes_of_removed"):
        tables.execute(_SQL[statement])


def index_words(tables: CollectionTables, passage_ids: Int32Array) -> None:
    """Write postings of the words of some passages, once those of all that were there at the build are written."""
    tables.execute(_SQL["index_words"], passage_ids=Int4Array(passage_ids))


def index_first_words(tables: CollectionTables, passage_ids: Int32Array, segment: int, mean: float | None) -> float | None:
    """Write postings of words in a first build: segment 0, with any before cleared; later ones take the mean length of that."""
    if segment == 0:
        tables.execute(_SQL["clear_words"])
    found = tables.value(_SQL["index_first_words"], passage_ids=Int4Array(passage_ids), mean=mean, segment=segment)
    return None if found is None else float(found)


def has_postings(tables: IndexTables) -> bool:
    """Return whether the codebook has postings."""
    return bool(tables.value(_SQL["has_postings"]))


def read_centroid_ids(tables: IndexTables, passage_ids: Int32Array, centroids: int) -> tuple[PassageIds, Int64Array, Int32Array]:
    """Return passages in the order received, offsets, and ids (tokens,) of so many centroids."""
    rows = tables.binary_rows(_SQL["centroid_ids"], passage_ids=Int4Array(passage_ids))
    return PassageIds.of(rows), *wire.read_centroid_ids([row[2] for row in rows], centroids)


def read_codes(
    tables: IndexTables, passage_ids: Int32Array, centroids: int, width: int
) -> tuple[PassageIds, Int64Array, Int32Array, ByteArray]:
    """`read_centroid_ids`, and residuals (tokens, width)."""
    rows = tables.binary_rows(_SQL["codes"], passage_ids=Int4Array(passage_ids))
    offsets, centroid_ids = wire.read_centroid_ids([row[2] for row in rows], centroids)
    residuals = np.frombuffer(b"".join(row[3] for row in rows), dtype=np.uint8).reshape(-1, width)
    return PassageIds.of(rows), offsets, centroid_ids, residuals
