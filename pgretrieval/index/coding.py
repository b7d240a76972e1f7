"""Conversion of token vectors to codes and postings, as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

import numpy as np

from pgretrieval.db.handles import IndexTables
from pgretrieval.db.tables import codebooks, codes, proxies
from pgretrieval.db.tables.codebooks import CodebookRow
from pgretrieval.db.tables.codes import PostingCodes
from pgretrieval.db.tables.proxies import ProxyModelRow
from pgretrieval.db.wire import offsets_of
from pgretrieval.importing import whole
from pgretrieval.types import (
    ByteArray,
    Float32Array,
    Int32Array,
    Int64Array,
    Scoring,
    TokenMatrix,
)

if TYPE_CHECKING:  # torch is imported to encode and decode, not to open a collection
    import torch

    from pgretrieval.numerics.codebook import Codebook
    from pgretrieval.numerics.proxy_model import ProxyModel


class Coded(NamedTuple):
    """Passages in stored form: codes (tokens,), those of passage i at offsets[i]:offsets[i + 1], and proxies (passages, rank) or
    None.

    `centroids` is how many the codebook has. `quantization_error` is the mean over tokens of 1 - cosine of a vector and its decoded
    code, or None.
    """

    passage_ids: Int32Array
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

    def code(self, passage_ids: Int32Array, tokens: TokenMatrix, *, measured: bool = False) -> Coded:
        """Compute codes, and proxies if the collection has them."""
        fitted = self.proxy_model.passages(tokens, self.device) if self.proxy_model else None
        centroid_ids, residuals = self.codebook.encode(tokens.vectors)
        error = self.codebook.quantization_error(tokens.vectors, centroid_ids, residuals) if measured else None
        centroids = len(self.codebook.centroids)
        return Coded(passage_ids, tokens.offsets, centroid_ids, residuals, centroids, fitted, error)


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
    codes.copy_codes(tables, coded.passage_ids, coded.offsets, coded.centroid_ids, coded.residuals, coded.centroids)
    if coded.proxies is not None:
        proxies.copy(tables, coded.passage_ids, coded.proxies)


def write_segment(tables: IndexTables, coded: Coded, scoring: Scoring) -> None:
    """Write codes, proxies and a segment of postings, whose number is its first passage id."""
    segment = int(coded.passage_ids.min())
    if scoring.by_tokens:
        tokens = posting_codes_of(coded.centroid_ids, coded.offsets, coded.passage_ids, coded.residuals)
        codes.copy_posting_codes(tables, segment, tokens)
        rows = len(tokens.centroid_ids)
    else:
        postings = postings_of(centroid_passage_pairs(coded.centroid_ids, coded.offsets, coded.passage_ids))
        codes.copy_postings(tables, segment, *postings)
        rows = len(postings.centroid_ids)
    write_coded(tables, coded if scoring.codes_by_passage else without_codes(coded))
    counts = len(coded.passage_ids), len(coded.centroid_ids)
    codes.note_segment(tables, segment, *counts, rows, coded.quantization_error)


def without_codes(coded: Coded) -> Coded:
    """Return the passages without tokens, as rows that only mark them as coded."""
    return coded._replace(offsets=np.zeros_like(coded.offsets), centroid_ids=coded.centroid_ids[:0], residuals=coded.residuals[:0])


class Postings(NamedTuple):
    """Posting lists: passages of centroid_ids[i] are passage_ids[offsets[i]:offsets[i + 1]], ascending."""

    centroid_ids: Int32Array
    offsets: Int64Array
    passage_ids: Int32Array


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


def centroid_passage_pairs(centroid_ids: Int32Array, offsets: Int64Array, passage_ids: Int32Array) -> Int64Array:
    """Return the distinct (centroid, passage) pairs of coded passages, each as a number: centroid * 2**32 + passage."""
    owners = np.repeat(passage_ids.astype(np.int64), np.diff(offsets))
    return np.unique((centroid_ids.astype(np.int64) << 32) | owners)


def postings_of(pairs: Int64Array) -> Postings:
    """Return the posting lists of distinct pairs in any order."""
    ordered = np.sort(pairs)
    centroids = (ordered >> 32).astype(np.int32)
    passages = (ordered & 0xFFFFFFFF).astype(np.int32)
    distinct, lengths = np.unique(centroids, return_counts=True)
    return Postings(distinct, offsets_of(lengths), passages)


def posting_codes_of(
    centroid_ids: Int32Array, offsets: Int64Array, passage_ids: Int32Array, residuals: ByteArray, first: int = 0, end: int = 2**31
) -> PostingCodes:
    """Return the tokens of centroids from `first` up to `end`, from codes of passages."""
    inside = np.flatnonzero((centroid_ids >= first) & (centroid_ids < end))
    owners = np.searchsorted(offsets, inside, side="right") - 1
    order = np.lexsort((inside, passage_ids[owners], centroid_ids[inside]))
    inside, owners = inside[order], owners[order]
    distinct, lengths = np.unique(centroid_ids[inside], return_counts=True)
    positions = (inside - offsets[owners]).astype(np.int32)
    return PostingCodes(distinct, offsets_of(lengths), passage_ids[owners], positions, residuals[inside])


def merged(parts: Sequence[PostingCodes]) -> PostingCodes:
    """Merge tokens by centroid of several parts; tokens of earlier parts come first."""
    centroid_ids = np.concatenate([np.repeat(part.centroid_ids, np.diff(part.offsets)) for part in parts])
    order = np.argsort(centroid_ids, kind="stable")
    distinct, lengths = np.unique(centroid_ids, return_counts=True)
    return PostingCodes(
        distinct,
        offsets_of(lengths),
        np.concatenate([part.passage_ids for part in parts])[order],
        np.concatenate([part.positions for part in parts])[order],
        np.concatenate([part.residuals for part in parts])[order],
    )
