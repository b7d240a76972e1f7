"""Conversion of token vectors to codes and postings, as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

import numpy as np

from pgretrieval.buckets import MAX_BUCKETS, PassageIds
from pgretrieval.db.handles import IndexTables
from pgretrieval.db.tables import codebooks, codes, proxies
from pgretrieval.db.tables.codebooks import CodebookRow
from pgretrieval.db.tables.codes import PostingCodes, Postings
from pgretrieval.db.tables.proxies import ProxyModelRow
from pgretrieval.db.wire import offsets_of
from pgretrieval.importing import whole
from pgretrieval.types import (
    ByteArray,
    Float32Array,
    Int16Array,
    Int32Array,
    Int64Array,
    Scoring,
    TokenMatrix,
)

if TYPE_CHECKING:  # torch is imported to encode and decode, not to open a collection
    import torch

    from pgretrieval.numerics.codebook import Codebook
    from pgretrieval.numerics.proxy_model import ProxyModel

_BUCKET_BITS = (MAX_BUCKETS - 1).bit_length()


class Coded(NamedTuple):
    """Passages in stored form: codes (tokens,), those of passage i at offsets[i]:offsets[i + 1], and proxies (passages, rank) or
    None.

    `centroids` is how many the codebook has. `quantization_error` is the mean over tokens of 1 - cosine of a vector and its decoded
    code, or None.
    """

    passages: PassageIds
    offsets: Int64Array
    centroid_ids: Int32Array
    residuals: ByteArray
    centroids: int
    proxies: Float32Array | None
    quantization_error: float | None


class Coder(NamedTuple):
    """Converter of token vectors to the stored form for `scoring`; computes on `device`."""

    codebook: Codebook
    proxy_model: ProxyModel | None
    device: torch.device
    scoring: Scoring

    def code(self, passages: PassageIds, tokens: TokenMatrix, *, measured: bool = False) -> Coded:
        """Compute codes, and proxies if the collection has them."""
        fitted = self.proxy_model.passages(tokens, self.device) if self.proxy_model else None
        centroid_ids, residuals = self.codebook.encode(tokens.vectors)
        error = self.codebook.quantization_error(tokens.vectors, centroid_ids, residuals) if measured else None
        centroids = len(self.codebook.centroids)
        return Coded(passages, tokens.offsets, centroid_ids, residuals, centroids, fitted, error)


def load_coder(tables: IndexTables, device: torch.device, scoring: Scoring) -> Coder:
    """Load a codebook and its proxy model, if any. Raises StorageError if a rebuild has just dropped it."""
    codebook = codebook_from_row(codebooks.load(tables), device, unit=scoring.unit_vectors)
    model = proxies.load_model(tables, codebook.dim)
    return Coder(codebook, proxy_model_from_row(model) if model else None, device, scoring)


class Coders:
    """Cache of the coder of a collection's active codebook. Threads may share it. `device` None is the default device."""

    def __init__(self, device: str | None, scoring: Scoring) -> None:
        self.scoring = scoring
        self._device = device
        self._cached: tuple[UUID | None, Coder] | None = None

    @cached_property
    def device(self) -> torch.device:
        """Device that codes and exact scores are computed on."""
        whole("torch")
        from pgretrieval.numerics.hardware import compute_device

        return compute_device(self._device)

    def get(self, tables: IndexTables, identity: UUID | None) -> Coder:
        """Return the coder, from the cache if `identity` matches. Raises StorageError if a rebuild has just dropped it."""
        cached = self._cached
        if cached is None or cached[0] != identity:
            cached = self._cached = identity, load_coder(tables, self.device, self.scoring)
        return cached[1]


def write_coded(tables: IndexTables, coded: Coded) -> None:
    """Write codes and proxies of passages by binary COPY."""
    codes.copy_codes(tables, coded.passages, coded.offsets, coded.centroid_ids, coded.residuals, coded.centroids)
    if coded.proxies is not None:
        proxies.copy(tables, coded.passages, coded.proxies)


def write_segment(tables: IndexTables, coded: Coded, scoring: Scoring) -> None:
    """Write codes, proxies and a segment of postings, whose number is its first passage id."""
    segment = int(coded.passages.ids.min())
    if scoring.by_tokens:
        tokens = posting_codes_of(coded.centroid_ids, coded.offsets, coded.passages, coded.residuals)
        codes.copy_posting_codes(tables, segment, tokens)
        rows = len(tokens.centroid_ids)
    else:
        postings = postings_of(centroid_passage_pairs(coded.centroid_ids, coded.offsets, coded.passages))
        codes.copy_postings(tables, segment, postings)
        rows = len(postings.centroid_ids)
    write_coded(tables, coded if scoring.codes_by_passage else without_codes(coded))
    counts = len(coded.passages), len(coded.centroid_ids)
    codes.note_segment(tables, segment, *counts, rows, coded.quantization_error)


def without_codes(coded: Coded) -> Coded:
    """Return the passages without tokens, as rows that only mark them as coded."""
    return coded._replace(offsets=np.zeros_like(coded.offsets), centroid_ids=coded.centroid_ids[:0], residuals=coded.residuals[:0])


def codebook_from_row(row: CodebookRow, device: torch.device | None = None, *, unit: bool = True) -> Codebook:
    """Return a codebook from stored values; it computes on `device`."""
    import torch

    from pgretrieval.numerics.codebook import Codebook
    from pgretrieval.numerics.residual import ResidualCodec

    cutoffs, weights = torch.tensor(row.cutoffs), torch.tensor(row.weights)
    return Codebook(row.centroids, ResidualCodec(row.centroids.shape[1], row.bits, cutoffs, weights), device, unit=unit)


def proxy_model_from_row(row: ProxyModelRow) -> ProxyModel:
    """Return a proxy model from stored values."""
    from pgretrieval.numerics.proxy_model import ProxyModel

    return ProxyModel(row.directions, row.threshold, row.projection, row.anchors, row.baseline)


def row_from_proxy_model(model: ProxyModel) -> ProxyModelRow:
    """Return a trained proxy model in stored form."""
    return ProxyModelRow(model.threshold, model.directions, model.projection, model.anchors, model.baseline)


def row_from_codebook(codebook: Codebook, passages: int, tokens: int, quantization_error: float | None) -> CodebookRow:
    """Return a trained codebook in stored form."""
    codec = codebook.codec
    return CodebookRow(
        codec.bits, codec.cutoffs.tolist(), codec.weights.tolist(), codebook.centroids, passages, tokens, quantization_error
    )


def centroid_passage_pairs(centroid_ids: Int32Array, offsets: Int64Array, passages: PassageIds) -> Int64Array:
    """Return the distinct pairs of a centroid and a passage, each as a number: centroid, bucket, passage in 21, 10, 32 bits."""
    owners = np.repeat((passages.buckets.astype(np.int64) << 32) | passages.ids, np.diff(offsets))
    return np.unique((centroid_ids.astype(np.int64) << _BUCKET_BITS + 32) | owners)


def postings_of(pairs: Int64Array) -> Postings:
    """Return the posting lists of distinct pairs in any order."""
    ordered = np.sort(pairs)
    lists, lengths = np.unique(ordered >> 32, return_counts=True)
    return Postings(*_centroids_and_buckets(lists), offsets_of(lengths), (ordered & 0xFFFFFFFF).astype(np.int32))


def posting_codes_of(
    centroid_ids: Int32Array, offsets: Int64Array, passages: PassageIds, residuals: ByteArray, first: int = 0, end: int = 2**31
) -> PostingCodes:
    """Return the tokens of centroids from `first` up to `end`, from codes of passages."""
    inside = np.flatnonzero((centroid_ids >= first) & (centroid_ids < end))
    owners = np.searchsorted(offsets, inside, side="right") - 1
    lists = _lists(centroid_ids[inside], passages.buckets[owners])
    order = np.lexsort((inside, passages.ids[owners], lists))
    inside, owners = inside[order], owners[order]
    distinct, lengths = np.unique(lists[order], return_counts=True)
    positions = (inside - offsets[owners]).astype(np.int32)
    return PostingCodes(*_centroids_and_buckets(distinct), offsets_of(lengths), passages.ids[owners], positions, residuals[inside])


def merged(parts: Sequence[PostingCodes]) -> PostingCodes:
    """Merge tokens by centroid of several parts; tokens of earlier parts come first."""
    lists = np.concatenate([np.repeat(_lists(part.centroid_ids, part.buckets), np.diff(part.offsets)) for part in parts])
    order = np.argsort(lists, kind="stable")
    distinct, lengths = np.unique(lists, return_counts=True)
    return PostingCodes(
        *_centroids_and_buckets(distinct),
        offsets_of(lengths),
        np.concatenate([part.passage_ids for part in parts])[order],
        np.concatenate([part.positions for part in parts])[order],
        np.concatenate([part.residuals for part in parts])[order],
    )


def _lists(centroid_ids: Int32Array, buckets: Int16Array) -> Int64Array:
    """Return the numbers of lists by centroid and bucket, in their order."""
    return (centroid_ids.astype(np.int64) << _BUCKET_BITS) | buckets


def _centroids_and_buckets(lists: Int64Array) -> tuple[Int32Array, Int16Array]:
    return (lists >> _BUCKET_BITS).astype(np.int32), (lists & MAX_BUCKETS - 1).astype(np.int16)
